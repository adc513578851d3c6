"""Fresh processes: the command line of `era` and other Python code, with their wall time and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import ROOT
from tests.benchmarks.measuring import CannotRun
from tests.benchmarks.memory_limit import Limit

_SHOWN = 500  # characters of a failed command's last words


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What became of a process.

    `code` is negative where a signal ended it; `seconds` of wall time; `peak` of its resident memory, and
    `peak_anonymous` of that which no file backs (0 unless it was watched), in bytes.
    """

    code: int
    seconds: float
    peak: int
    peak_anonymous: int
    stdout: str
    stderr: str

    @property
    def last_words(self) -> str:
        """The end of what it wrote on stderr."""
        return self.stderr.strip()[-_SHOWN:]


class Failed(Exception):
    """A process that had to succeed did not."""


def run(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    watch: bool = False,
    limit: Limit | None = None,
) -> Finished:
    """Runs this Python with `arguments`, in an empty folder, on this checkout.

    Args:
        environment: variables besides those of this process.
        watch: measure the peak of the anonymous memory too; it costs the process a little time.
        limit: the memory that it may take.

    Raises:
        CannotRun: this system has no wait4.
    """
    if not hasattr(os, "wait4"):
        raise CannotRun("this system has no wait4, which tells a process's peak memory")
    variables = {**os.environ, **(environment or {})}
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # An installed era has its bytecode; without it every start would compile.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        task = {
            "command": [sys.executable, *arguments],
            "environment": variables,
            "folder": folder,
            "watch": watch or limit is not None,
            "join": None if limit is None or limit.join is None else str(limit.join),
            "most_anonymous": None if limit is None else limit.most_anonymous,
        }
        code, told, complaint = _launched(json.dumps(task))
        if code:
            raise Failed(f"the launcher failed: {complaint.strip()[-_SHOWN:]}")
        stdout, stderr = (
            (Path(folder) / name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr")
        )
    return Finished(**json.loads(told), stdout=stdout, stderr=stderr)


def _launched(task: str) -> tuple[int, str, str]:
    """The launcher's exit code, stdout and stderr; what stops this process stops the launcher and its child too."""
    command = [sys.executable, "-m", "tests.benchmarks.launcher"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as launcher:
        try:
            stdout, stderr = launcher.communicate(task)
        except BaseException:
            launcher.terminate()
            raise
    return launcher.returncode, stdout, stderr


def succeeded(
    arguments: Sequence[str], *, environment: Mapping[str, str] | None = None, watch: bool = False
) -> Finished:
    """Runs this Python with `arguments` as `run` does.

    Raises:
        Failed: it did not exit with 0.
    """
    finished = run(arguments, environment=environment, watch=watch)
    if finished.code:
        raise Failed(f"{' '.join(arguments)} ended with {finished.code}: {finished.last_words}")
    return finished


def era(*arguments: str, environment: Mapping[str, str] | None = None) -> Finished:
    """Runs `era` with `arguments`.

    Raises:
        Failed: it did not exit with 0.
    """
    return succeeded(["-m", "era_cli", *arguments], environment=environment)
