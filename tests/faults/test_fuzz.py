"""The sharp part of the fuzz test, and that it would see what it is to see; `make faults` tries the rest."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults import fuzz
from tests.faults.case import Case
from tests.faults.fuzz import Example, problems
from tests.faults.sandbox import BYSTANDER, Outcome

GOOD = Outcome(code=0, output="done\n", seconds=1, processor_seconds=1, memory=500_000_000, written=frozenset())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the children are forked")
@pytest.mark.parametrize("case", [case for case in fuzz.cases() if case.sharp], ids=lambda case: case.name)
def test_hostile_input_does_no_harm(case: Case, tmp_path: Path) -> None:
    case.check(tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"code": -11}, "exit code -11"),
        ({"code": 130}, "exit code 130"),
        ({"code": 1, "output": "Traceback (most recent call last)\n"}, "a traceback"),
        ({"output": "\x1b[31mred\n"}, "control characters"),
        ({"code": 2, "output": "x" * 20_000}, "a very long line"),
        ({"seconds": 61}, "61 s"),
        ({"memory": 1_200_000_000}, "1.2 GB"),
        ({"written": frozenset({"home/.bashrc"})}, "home/.bashrc"),
        ({"written": frozenset({"work/photos/0/0.png"})}, "work/photos"),
        ({"written": frozenset({f"work/runs/{BYSTANDER}/run.json"})}, BYSTANDER),
    ],
)
def test_what_must_not_happen_is_seen(changes: dict[str, Any], says: str) -> None:
    example = Example(("eval", "--run", "done", "--out", "out/x.png"), train=True)
    expected = frozenset({"work/runs/done/eval-test.json", "work/out", "work/out/x-reliability.png", "cache/era"})
    assert problems(example, replace(GOOD, written=expected)) == []
    (wrong,) = problems(example, replace(GOOD, **changes))
    assert says in wrong
