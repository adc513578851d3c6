"""The entry point `era`, which is also `python -m era_cli`."""

from __future__ import annotations

import contextlib
import os
import sys

from era_cli.signals import STOPPING, end_on_signals


def main() -> None:
    """Runs the app; a signal ends it from the first moment, since only the imports take long enough for a Ctrl-C."""
    end_on_signals()
    _open_closed_streams()
    from era_cli.cli import app

    try:
        app()
    except SystemExit as ended:
        _flush()
        if isinstance(ended.code, int) and ended.code - 128 in STOPPING:
            os._exit(ended.code)  # a thread may be stuck in a file that it was decoding
        raise


def _open_closed_streams() -> None:
    """Makes a stream that the shell closed (`>&-`) lead nowhere: its number must not become that of a run's file."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _flush() -> None:
    """Writes what is left in the streams, or drops it: at exit, Python would complain and change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            with contextlib.suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


if __name__ == "__main__":
    main()
