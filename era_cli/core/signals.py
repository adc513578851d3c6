"""Ctrl-C and SIGTERM, held back until the training step in progress is done and saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from era_cli.errors import Interrupted

_HELD = (signal.SIGINT, signal.SIGTERM)


class HeldSignals:
    """Between `hold` and `release` the first signal is kept in `received`, the second raises Interrupted."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Callable[..., Any] | int | None] = {}

    def hold(self) -> None:
        """Takes over the handlers; does nothing outside the main thread, where Python allows none."""
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._handle) for signum in _HELD}

    def release(self) -> None:
        """Gives the handlers back."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise Interrupted(signum)
        self.received = signum
