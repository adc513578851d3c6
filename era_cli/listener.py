"""What the core reports while it works. The core is handed a Listener and knows no console."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from era_cli.results import EpochRow, FitPlan

Advance = Callable[[int], None]


class Listener:
    """Does nothing: every method may be overridden, and none may raise into the work."""

    def planned(self, plan: FitPlan) -> None:
        """Training is about to begin."""

    def note(self, text: str) -> None:
        """One sentence that the person should read."""

    def warn(self, text: str) -> None:
        """One sentence without which the result would be misread, or a file missed."""

    @contextlib.contextmanager
    def work(self, what: str, total: int, unit: str = "images") -> Iterator[Advance]:
        """A piece of work of `total` units (bytes where `unit` is "bytes"); call the yielded function per part."""
        yield lambda done: None

    def epoch_started(self, epoch: int, steps_done: int) -> None:
        """Epoch `epoch` (from 1) begins, or resumes after `steps_done` of its steps."""

    def step_done(self) -> None:
        """One more training step is done."""

    def validating(self) -> None:
        """The epoch's training steps are done."""

    def epoch_ended(self, row: EpochRow, best: bool) -> None:
        """The epoch is over and written; `best` says whether it is the best so far."""
