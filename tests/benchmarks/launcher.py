"""Starts one process, waits for it, and says what it took. For `processes`, as a small process of its own.

Linux counts the memory of the process that starts another into the peak of the other (ru_maxrss survives exec), so a
process that has trained a network must not be that one. Reads a JSON object on stdin and writes one on stdout.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAUSE = 0.002  # seconds between two looks at the process's memory
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of one ru_maxrss


def launch(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    *,
    watch: bool = False,
    join: str | None = None,
    most_anonymous: int | None = None,
) -> dict[str, Any]:
    """Runs `command` in `folder`, its output going to the files `stdout` and `stderr` there.

    Args:
        watch: look at its anonymous memory (RssAnon of /proc) while it runs.
        join: the file of a control group that takes process ids; the process is born in that group.
        most_anonymous: kill the process once its anonymous memory is larger, in bytes.

    Returns:
        `code` (negative: the signal that ended it), `seconds` of wall time, `peak` of its resident memory and
        `peak_anonymous`, both in bytes.
    """
    if join is not None:
        Path(join).write_text(str(os.getpid()), encoding="ascii")
    os.chdir(folder)
    outputs = [
        (os.POSIX_SPAWN_OPEN, number, name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for number, name in ((1, "stdout"), (2, "stderr"))
    ]
    peak_anonymous = 0
    started = time.perf_counter()
    child = os.posix_spawn(command[0], list(command), environment, file_actions=outputs)
    ended = 0
    try:
        ended, status, usage = os.wait4(child, os.WNOHANG if watch else 0)
        while not ended:
            peak_anonymous = max(peak_anonymous, _anonymous(child))
            if most_anonymous is not None and peak_anonymous > most_anonymous:
                os.kill(child, signal.SIGKILL)
            time.sleep(PAUSE)
            ended, status, usage = os.wait4(child, os.WNOHANG)
    finally:
        if not ended:  # stopped while it ran: it must not outlive the suite
            os.kill(child, signal.SIGKILL)
            os.wait4(child, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.perf_counter() - started,
        "peak": usage.ru_maxrss * UNIT,
        "peak_anonymous": peak_anonymous,
    }


def _anonymous(process: int) -> int:
    """Bytes of its memory that no file backs; 0 once it has ended."""
    try:
        text = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("RssAnon:")), 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    json.dump(launch(**json.load(sys.stdin)), sys.stdout)
