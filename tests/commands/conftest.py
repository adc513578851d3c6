"""What the tests of the reading commands share: a run that they may write to, in a place of their own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from era_cli.reports import style
from era_cli.runs.run import Run
from era_cli.signals import STOPPING
from tests.support import copied


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


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Run:
    """The finished run as runs/mine in the working folder."""
    return copied(finished_run, tmp_path / "runs" / "mine")
