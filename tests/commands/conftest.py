"""What the tests of the reading commands share: a run that they may write to, in a place of their own."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from era_cli.core.networks import checkpoint
from era_cli.reports import style
from era_cli.runs.run import Run
from era_cli.signals import STOPPING


@pytest.fixture
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An own working folder, and pytest's signal handlers given back after a command ran in this process."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(style, "DPI", 40)  # quicker to write
    handlers = {signum: signal.getsignal(signum) for signum in STOPPING}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def copied(run: Path, to: Path) -> Run:
    """A copy to be written to; its best checkpoint is a second name of the original and must be replaced whole."""
    shutil.copytree(run, to, ignore=shutil.ignore_patterns("*.ckpt"))
    (to / "checkpoints" / checkpoint.BEST).hardlink_to(run / "checkpoints" / checkpoint.BEST)
    return Run(to)


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Run:
    """The finished run as runs/mine in the working folder."""
    return copied(finished_run, tmp_path / "runs" / "mine")
