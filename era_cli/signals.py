"""Ctrl-C, SIGTERM and a closed terminal: they end the process, raise, or are held until a training step is saved."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from era_cli.errors import Interrupted
from era_cli.place import reports_errors

Handler = Callable[[int, FrameType | None], None]

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP
_UNDRAWN = ("dumb", "unknown")  # terminals on which Rich draws nothing
_CLEARED = "\r\x1b[2K\x1b[?25h"  # the line is empty and the cursor shows


def end_on_signals() -> None:
    """From now on a stopping signal ends the process at once: there is nothing to save or to remove."""
    _install(_end)


def raise_on_signals() -> None:
    """From now on a stopping signal raises Interrupted."""
    _install(_raise)


class HeldSignals:
    """Between `hold` and `release` the first signal is kept in `received`, the second raises Interrupted."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def hold(self) -> None:
        """Takes over the handlers."""
        _install(self._handle, self._before)

    def release(self) -> None:
        """Gives the handlers back."""
        _restore(self._before)
        self._before.clear()

    def raise_received(self) -> None:
        """Raises Interrupted if a signal came."""
        if self.received is not None:
            raise Interrupted(self.received)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise Interrupted(signum)
        self.received = signum


@contextlib.contextmanager
def forwarded(send: Callable[[int], None]) -> Iterator[None]:
    """Within the block every signal is handed to `send`, and stops nothing else."""
    before: dict[int, Any] = {}
    try:
        _install(lambda signum, frame: send(signum), before)
        yield
    finally:
        _restore(before)


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Lets signals wait until the block is done; processes started in it begin with them blocked."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Holds the first signal back until the block is done."""
    signals = HeldSignals()
    try:
        signals.hold()
        yield
    finally:
        signals.release()
    signals.raise_received()


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Lets a signal end the process within the block: raised within the import of torch it would abort it."""
    before: dict[int, Any] = {}
    try:
        _install(_end, before)
        yield
    finally:
        _restore(before)


def sentence(signum: int) -> str:
    """What a stopped command says last."""
    return f"Stopped by {'Ctrl-C' if signum == signal.SIGINT else signal.Signals(signum).name}."


def _install(handler: Handler, before: dict[int, Any] | None = None) -> None:
    """Sets the handler; the former ones go to `before`, one by one: the next signal may come between two of them.

    A signal that is ignored (nohup, `&`) stays so.
    """
    if threading.current_thread() is not threading.main_thread():  # Python lets no other thread set handlers
        return
    for signum in STOPPING:
        if (former := signal.getsignal(signum)) is not signal.SIG_IGN:
            if before is not None:
                before[signum] = former
            signal.signal(signum, handler)


def _restore(handlers: dict[int, Any]) -> None:
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def _end(signum: int, frame: FrameType | None) -> None:
    # Rich's spinner hides the cursor, and its thread may hold the locks of the streams.
    with contextlib.suppress(OSError, ValueError):
        if not reports_errors():
            os._exit(128 + signum)
        drawn = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in _UNDRAWN
        os.write(2, f"{_CLEARED if drawn else ''}{sentence(signum)}\n".encode())
    os._exit(128 + signum)


def _raise(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum)
