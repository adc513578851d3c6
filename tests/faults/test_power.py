from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults import power, scenarios
from tests.faults.disk import Call

WRITE = os.O_WRONLY | os.O_CREAT


def found(*calls: Call, before: power.Tree | None = None) -> list[power.Tree]:
    """What a power cut may leave after all of the calls."""
    machine = power.Machine(before or {})
    for call in calls:
        machine.apply(call)
    return [tree for _, tree in machine.states()]


def test_what_is_synced_stays_and_what_is_not_may_be_lost() -> None:
    opened, written = Call("open", "a", file=1, flags=WRITE), Call("write", "a", file=1, data=b"data")
    file, folder = Call("fsync", "a", file=1), Call("fsync", "", file=2)
    unsynced = found(opened, written)
    every: list[power.Tree] = [{}, {"a": b""}, {"a": b"da"}, {"a": bytes(4)}, {"a": b"data"}]
    assert all(tree in unsynced for tree in every)
    assert all(tree in every for tree in unsynced)
    assert all(tree in ({}, {"a": b"data"}) for tree in found(opened, written, file))
    assert all(tree == {"a": b"data"} for tree in found(opened, written, file, folder))


def test_a_rename_without_a_synced_folder_may_be_lost() -> None:
    before: power.Tree = {"old": b"old"}
    calls = [
        Call("open", "new", file=1, flags=WRITE),
        Call("write", "new", file=1, data=b"new"),
        Call("fsync", "new", file=1),
        Call("rename", "new", "old"),
    ]
    states = found(*calls, before=before)
    assert {"old": b"old"} in states
    assert {"old": b"old", "new": b"new"} in states
    assert {"old": b"new"} in states
    assert all(tree == {"old": b"new"} for tree in found(*calls, Call("fsync", "", file=2), before=before))


@pytest.mark.skipif(os.name != "posix", reason="needs fork")
@pytest.mark.parametrize("change", power.SHARP)
def test_a_run_is_resumed_after_a_power_cut(change: str, tmp_path: Path) -> None:
    (fit,) = [scenario for scenario in scenarios.TRAINING if scenario.title == "fit"]
    cases = [case for case in power.cases_of(fit) if case.name.endswith(change)]
    cases[-1].check(tmp_path)
