"""`era` in several processes with the narrow network, as a person or a cluster starts it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.support import environment

ROOT = Path(__file__).parents[1]
OPTIONS = (
    *("--data=digits", "--image-size=8", "--precision=fp32", "--batch-size=24", "--limit-train=170"),
    *("--dropout=0.1", "--epochs=3"),
)  # 21 steps


def era(
    runs: Path, *arguments: str, launcher: tuple[str, ...] = ("-m",), env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Starts `era` with its runs in this folder and one thread in each process."""
    return subprocess.Popen(
        [sys.executable, *launcher, "tests.narrow_era", *arguments, f"--runs-dir={runs}"],
        cwd=ROOT,
        env=environment(**(env or {})),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    """What it printed, after it ended with this exit code."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, f"{process.returncode}\n{out}{err}"
    assert "Traceback" not in err, err
    return out, err


def none_left(runs: Path, within: float = 10) -> bool:
    """Whether none of the processes with their runs in this folder is left after so many seconds."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        if not subprocess.run(["pgrep", "-f", f"runs-dir={runs}"], capture_output=True).stdout:
            return True
        time.sleep(0.1)
    return False


def free_port() -> str:
    """A port of this machine that nobody uses."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return str(any_port.getsockname()[1])
