"""Runs killed at random times, one to three times each, and resumed to their end."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults import scenarios
from tests.faults.case import Case, Fault
from tests.faults.disk import Plan
from tests.faults.scenarios import SIZE, Scenario

RUNS = 40
_COMPILED = (8, 20)  # the runs that compile their network, which takes far longer than training it
_LONGEST = 1.5  # seconds until a kill; the training itself takes about that

RANDOM = Fault(
    title="killed (SIGKILL) one to three times at random: dropout, fp32 and bf16, some runs with --compile",
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


def _killed(scenario: Scenario, number: int, at: Path) -> None:
    draw = random.Random(number)
    changes = len(scenarios.undisturbed(scenario).calls)
    (at / "work").mkdir()
    for kill in range(draw.randint(1, 3)):
        if draw.random() < 0.5:
            how: dict[str, Any] = {"plan": Plan(at=draw.randint(1, changes))}
        else:
            how = {"kill_after": draw.uniform(0.1, _LONGEST)}
        ended = scenario.run(at, **how) if kill == 0 else scenarios.resume(scenario, at, 0, **how)
        assert ended.code in (0, -9) or "is finished" in ended.stderr, ended
    scenarios.go_on(scenario, at, 0)
