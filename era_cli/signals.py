"""Ctrl-C, SIGTERM and a closed terminal: raised at once, or held back until a training step is saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from era_cli.errors import Interrupted

Handler = Callable[[int, FrameType | None], None]

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


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
        self._before = _install(self._handle)

    def release(self) -> None:
        """Gives the handlers back."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def raise_received(self) -> None:
        """Raises Interrupted if a signal came."""
        if self.received is not None:
            raise Interrupted(self.received)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise Interrupted(signum)
        self.received = signum


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Holds a signal back until the block is done: raised within the import of torch it would abort the process."""
    signals = HeldSignals()
    signals.hold()
    try:
        yield
    finally:
        signals.release()
    signals.raise_received()


def _install(handler: Handler) -> dict[int, Any]:
    """Sets the handler and returns the former ones; a signal that is ignored (nohup, `&`) stays so."""
    if threading.current_thread() is not threading.main_thread():  # Python lets no other thread set handlers
        return {}
    caught = [signum for signum in STOPPING if signal.getsignal(signum) is not signal.SIG_IGN]
    return {signum: signal.signal(signum, handler) for signum in caught}


def _raise(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum)
