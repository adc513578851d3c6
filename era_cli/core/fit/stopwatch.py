"""Wall time over several sessions."""

from __future__ import annotations

import time


class Stopwatch:
    """Counts seconds while it runs, on top of those that it was given."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._before = seconds
        self._started: float | None = None

    def start(self) -> None:
        """Runs from now on; a running watch runs on."""
        if self._started is None:
            self._started = time.monotonic()

    def stop(self) -> None:
        """Stands still, and keeps its seconds."""
        self._before, self._started = self.seconds, None

    @property
    def seconds(self) -> float:
        """Seconds counted so far."""
        return self._before + (0.0 if self._started is None else time.monotonic() - self._started)
