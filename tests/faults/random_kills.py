"""Runs killed at random times, one to three times each, and resumed to their end."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults import scenarios
from tests.faults.case import Case, Fault
from tests.faults.disk import Plan
from tests.faults.scenarios import SIZE, Scenario

RUNS = 40
# The runs that compile their network, one of each precision: killed by change alone, since compiling takes far longer
# than all the rest.
_COMPILED = (8, 21)
_LONGEST = 1.5  # seconds until a kill; the training itself takes about that
_EARLIER = (1, 1 / 2, 1 / 4, 1 / 8)  # a kill that came after the end is tried again, so much earlier

RANDOM = Fault(
    title="40 runs killed (SIGKILL) one to three times at random moments: dropout, fp32 and bf16, two with --compile",
    promise="resumed to its end, the run equals an undisturbed one",
    test="tests/faults/test_random_kills.py",
)


def _scenario(precision: str, often: bool, compiled: bool) -> Scenario:
    return Scenario(
        title=f"fit {precision}" + (" saving often" if often else "") + (" --compile" if compiled else ""),
        command=(
            *("fit", "--data=digits", "--epochs=3", f"--precision={precision}", *SIZE),
            *(["--compile"] if compiled else []),
        ),
        seeds=(0,),
        save_every=0.0 if often else None,
    )


def cases() -> Iterator[Case]:
    """Every case."""
    for number in range(RUNS):
        scenario = _scenario(("fp32", "bf16")[number % 2], number % 3 == 0, number in _COMPILED)
        name = f"{scenario.title}: run {number}"
        yield Case(fault=RANDOM, name=name, check=partial(_killed, scenario, number), sharp=number == 0)


def _killed(scenario: Scenario, number: int, folder: Path) -> None:
    draw = random.Random(number)
    changes = len(scenarios.undisturbed(scenario).calls)
    at, before = folder / "at", folder / "before"
    (at / "work").mkdir(parents=True)
    kills = 0
    for kill in range(draw.randint(1, 3)):
        shutil.rmtree(before, ignore_errors=True)
        scenarios.copy(at, before)
        by_change, when = number in _COMPILED or draw.random() < 0.5, draw.random()
        for part in _EARLIER:
            scenarios.age(at)
            how: dict[str, Any] = {"kill_after": _LONGEST * when * part}
            if by_change:
                how = {"plan": Plan(at=1 + int(changes * when * part))}
            ended = scenario.run(at, **how) if kill == 0 else scenarios.resume(scenario, at, 0, **how)
            if ended.code == -9:
                kills += 1
                break
            assert ended.code == 0 or "is finished" in ended.stderr, ended
            shutil.rmtree(at)
            scenarios.copy(before, at)
    assert kills, "never killed"
    scenarios.go_on(scenario, at, 0)
