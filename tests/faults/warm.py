"""`era` in a process that has everything loaded: a copy of it runs each command, in the time of the command alone.

`python -m tests.faults.warm` is that process. It reads a job as a line of JSON on stdin, forks, and answers with the
exit code once the copy has ended; it never trains itself, so that no thread of torch's is lost in the copy.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults import disk
from tests.faults.disk import Plan
from tests.faults.loaded import load_everything

ROOT = Path(__file__).parents[2]
LIMIT = 300.0  # seconds of one command
NOTHING = Plan()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended: its exit code, negative for a signal, and what it printed."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command to be run in the folder `at`, where its working folder is `work` and its cache `cache`.

    Args:
        save_every: seconds between two checkpoints within an epoch; None leaves it as it is.
        kill_after: seconds until it is killed.
        record: the file that gets the calls which change the disk.
    """

    command: tuple[str, ...]
    at: str
    plan: Plan = NOTHING
    save_every: float | None = None
    kill_after: float | None = None
    record: str | None = None


class Warm:
    """The process, and how it is asked."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.warm"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
        )

    def run(self, job: Job) -> Ended:
        """Runs the command to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the warm process ended"
        texts = [Path(job.at, name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr")]
        return Ended(code=json.loads(answer), stdout=texts[0], stderr=texts[1])

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


_idle: list[Warm] = []
_lock = threading.Lock()


@contextlib.contextmanager
def _one() -> Iterator[Warm]:
    with _lock:
        warm = _idle.pop() if _idle else None
    warm = warm or Warm()
    yield warm  # one that failed is not used again
    with _lock:
        _idle.append(warm)


def run(at: Path, *command: str, **options: Any) -> Ended:
    """Runs `era` with the working folder `at`/work and the cache `at`/cache; see `Job` for the options."""
    (at / "work").mkdir(parents=True, exist_ok=True)
    with _one() as warm:
        return warm.run(Job(command=command, at=str(at), **options))


def _load() -> None:
    """Loads everything; figures are written, but blank: to draw them takes longer than all the rest."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    load_everything()
    Figure.draw = lambda self, renderer: None  # type: ignore[method-assign]
    ConstrainedLayoutEngine.execute = lambda self, fig: None  # type: ignore[method-assign]


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _load()
    for line in sys.stdin:
        fields = json.loads(line)
        job = Job(**{**fields, "plan": Plan(**fields["plan"]), "command": tuple(fields["command"])})
        child = os.fork()
        if not child:
            _become_era(job)
        answers.write(f"{_waited_for(child, job.kill_after)}\n")
        answers.flush()


def _waited_for(child: int, kill_after: float | None) -> int:
    limit = time.monotonic() + (LIMIT if kill_after is None else kill_after)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > limit:
            os.kill(child, signal.SIGKILL)
            limit += LIMIT
        time.sleep(0.002)


def _become_era(job: Job) -> None:
    """Runs the command and ends this process; an exception that `era` lets through ends it with a traceback."""
    code = 70
    try:
        os.chdir(Path(job.at, "work"))
        for number, name in enumerate(("/dev/null", f"{job.at}/stdout", f"{job.at}/stderr")):
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.environ.update(HOME=f"{job.at}/home", XDG_CACHE_HOME=f"{job.at}/cache", COLUMNS="200")
        os.environ.pop("ERA_DATA_DIR", None)
        sys.argv = ["era", *job.command]
        if job.save_every is not None:
            from era_cli.core.fit.run_writer import RunWriter

            assert RunWriter.__init__.__kwdefaults__ is not None
            RunWriter.__init__.__kwdefaults__["save_every"] = job.save_every
        from era_cli.cli import app

        # stdout and stderr lie in the folder, but are written by descriptors that the disk does not know.
        watched = disk.install(Path(job.at), job.plan)
        try:
            app(list(job.command), prog_name="era")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if job.record is not None:
            calls = list(watched.calls)
            disk.save(calls, Path(job.record))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
