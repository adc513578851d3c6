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
from tests.faults.sandbox import BYSTANDER, OUTSIDE, Outcome, tell_of_changes_elsewhere

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
        ({"code": 1, "output": "Error: no\nTraceback (most recent call last)\n"}, "a traceback"),
        ({"code": 1}, "0 sentences"),
        ({"code": 2, "output": "Error: no\nError: no\n"}, "2 sentences"),
        ({"output": "\x1b[31mred\n"}, "control characters"),
        ({"code": 2, "output": "Error: " + "x" * 20_000}, "a very long line"),
        ({"seconds": 61}, "61 s"),
        ({"memory": 1_200_000_000}, "1.2 GB"),
        ({"code": 1, "output": "Error: memory ran out: free some\n"}, "more memory"),
        ({"output": f"\n{OUTSIDE}open '/tmp/x'\n"}, "/tmp/x"),
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


def test_what_is_written_elsewhere_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place, new = f"{tmp_path}/place/", os.O_WRONLY | os.O_CREAT
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "link").symlink_to(tmp_path)
    for event, *given in (
        ("open", f"{place}x", "w", new),
        ("open", tmp_path / "x", "r", os.O_RDONLY),
        ("open", 3, "w", new),
        ("os.rename", f"{place}x", f"{place}y", -1, -1),
        ("os.symlink", tmp_path, f"{place}y", -1),
        ("open", "/dev/null", "w", new),
    ):
        tell_of_changes_elsewhere(place, event, tuple(given))
    assert capfd.readouterr().err == ""
    for event, *given in (
        ("open", tmp_path / "x", "w", new),
        ("open", f"{place}link/x", None, new),
        ("os.rename", f"{place}x", tmp_path / "x", -1, -1),
        ("os.mkdir", os.fsencode(tmp_path / "x"), 0o777, -1),
        ("os.remove", f"{place}../x", -1),
    ):
        tell_of_changes_elsewhere(place, event, tuple(given))
        told = capfd.readouterr().err
        assert told.startswith(f"\n{OUTSIDE}{event} '{tmp_path}")
        assert told.endswith("/x'\n")
