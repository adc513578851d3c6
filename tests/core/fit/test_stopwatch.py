from __future__ import annotations

import time

import pytest

from era_cli.core.fit.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_it_counts_while_running_from_its_start(clock: list[float]) -> None:
    watch = Stopwatch(seconds=7.0)
    clock[0] += 50
    assert watch.seconds == 7.0
    watch.start()
    clock[0] += 2
    watch.start()  # a running watch runs on
    clock[0] += 1
    assert watch.seconds == 10.0
    watch.stop()
    clock[0] += 50
    assert watch.seconds == 10.0
    watch.start()
    clock[0] += 5
    assert watch.seconds == 15.0
