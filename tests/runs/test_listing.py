"""Runs at a glance: what is shown of each, whatever state it is in, and nothing written."""

from __future__ import annotations

import fcntl
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from era_cli.choices import RunOrder
from era_cli.recipes import default, session10, with_options
from era_cli.runs import history, listing
from era_cli.runs.document import Session
from era_cli.runs.run import Run
from tests.support import RESULT, curve_run, epoch_row, files, make_run, run_document


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_a_finished_run_is_what_its_document_says(runs_dir: Path) -> None:
    run = make_run(runs_dir, "a", status="finished", result=RESULT, seconds=9.5)
    found = listing.summary(run)
    assert (found.name, found.status, found.source, found.problem) == ("a", "finished", "digits", None)
    assert (found.epochs, found.planned_epochs) == (24, 24)
    assert (found.val_acc, found.test_acc, found.seconds) == (0.75, 0.875, 9.5)


def test_a_run_without_its_process_is_interrupted_and_nothing_is_left_there(runs_dir: Path) -> None:
    run = curve_run(runs_dir, 3, "a", seconds=1.0)
    before = files(run.path)
    found = listing.summary(run)
    assert (found.status, found.epochs, found.val_acc, found.test_acc) == ("interrupted", 3, 0.75, None)
    assert found.seconds == 3 * 12.5  # what its epochs took; nobody wrote more
    assert files(run.path) == before
    with run.lock():
        assert listing.summary(run).status == "running"
    assert listing.summary(run).status == "interrupted"


def test_a_run_that_ends_while_it_is_looked_at_is_not_interrupted(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(runs_dir, "a")

    def ends(self: Run) -> bool:
        run.update(status="finished", result=RESULT)
        return False

    monkeypatch.setattr(Run, "is_in_use", ends)
    assert (listing.summary(run).status, listing.summary(run).test_acc) == ("finished", 0.875)


def test_a_lock_that_is_a_link_or_a_pipe_is_not_touched(runs_dir: Path, tmp_path: Path) -> None:
    run, target = make_run(runs_dir, "a"), tmp_path / "target"
    (run.path / ".lock").symlink_to(target)
    assert listing.summary(run).status == "interrupted"
    assert not target.exists()
    (run.path / ".lock").unlink()
    os.mkfifo(run.path / ".lock")
    assert listing.summary(run).status == "interrupted"


def test_who_only_looks_does_not_keep_a_trainer_out(runs_dir: Path) -> None:
    run = make_run(runs_dir, "a")
    with run.lock():
        pass
    with (run.path / ".lock").open() as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        threading.Timer(0.05, lambda: fcntl.flock(looked_at, fcntl.LOCK_UN)).start()
        with run.lock():  # waits a moment
            assert run.is_in_use()


@pytest.mark.parametrize("kind", ["empty", "pipe", "device", "huge", "newer"])
def test_a_stranger_s_run_json_is_a_row_with_its_reason(runs_dir: Path, kind: str) -> None:
    make_run(runs_dir, "good")
    bad = runs_dir / "bad"
    bad.mkdir()
    file = bad / "run.json"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "huge":
        with file.open("wb") as stream:
            stream.truncate(5_000_000_000)
    else:
        file.write_text('{"schema": 9}' if kind == "newer" else "")
    (found,) = [run for run in listing.everything(runs_dir) if run.name == "bad"]
    assert (found.status, found.recipe, found.test_acc) == ("unreadable", None, None)
    assert str(file) in str(found.problem)


def test_only_runs_are_listed(runs_dir: Path) -> None:
    assert listing.everything(runs_dir) == []
    make_run(runs_dir, "a")
    for name in (".b.new", "lr-find"):
        (runs_dir / name).mkdir()
        (runs_dir / name / "run.json").write_text("{}")
    (runs_dir / "curves.png").touch()
    (runs_dir / "notes").mkdir()
    assert [run.name for run in listing.everything(runs_dir)] == ["a"]


def test_a_metrics_csv_that_is_no_table_of_epochs_costs_only_its_columns(runs_dir: Path) -> None:
    run = make_run(runs_dir, "a")
    with run.metrics_file.open("wb") as stream:
        stream.truncate(50_000_000)
    found = listing.summary(run)
    assert (found.status, found.epochs, found.planned_epochs) == ("interrupted", None, 24)
    assert "larger than 4 MB" in str(found.problem)
    run.metrics_file.unlink()
    history.append(run.metrics_file, [epoch_row(1, val_acc=1e50, seconds=float("inf"))])
    assert (listing.summary(run).val_acc, listing.summary(run).seconds) == (None, 0)


def test_the_size_counts_every_file_once_and_follows_no_link(runs_dir: Path, tmp_path: Path) -> None:
    run = make_run(runs_dir, "a")
    (tmp_path / "elsewhere").write_bytes(b"x" * 1_000_000)
    empty = listing.summary(run).size
    (run.checkpoints / "last.ckpt").write_bytes(b"x" * 1_000)
    (run.checkpoints / "best.ckpt").hardlink_to(run.checkpoints / "last.ckpt")
    link = run.path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    (run.path / "loop").symlink_to(run.path)
    assert empty + 1_000 <= listing.summary(run).size < empty + 2_000


@pytest.mark.parametrize(
    ("recipe", "command", "changes"),
    [
        (with_options(default(), {"epochs": 10, "batch_size": 32}), "", {"epochs": 10, "batch_size": 32}),
        (with_options(default(), {"optimizer": "adam", "batch_size": 32}), "", {"optimizer": "adam", "batch_size": 32}),
        (with_options(session10(), {"batch_size": 32, "seed": 0}), "", {"batch_size": 32}),
        (with_options(default(), {"batch_size": 128, "val_size": 40, "flip": 0.0}), "--epochs 24", {}),
        (with_options(default(), {"val_size": 40, "flip": 0.0}), "--val-size=40 --flip 0", {"val_size": 40, "flip": 0}),
        (with_options(default(), {"image_size": 32}), "", {}),
    ],
)
def test_what_differs_from_the_named_recipe(recipe: Any, command: str, changes: dict[str, Any]) -> None:
    document = run_document(recipe=recipe, command=("era", "fit", *command.split()))
    assert listing.changes(document) == changes
    environment = {name: getattr(document, name) for name in ("device", "versions", "git_commit", "command")}
    resumed = replace(
        document,
        command=("era", "fit", "--resume", "latest"),
        sessions=(Session(started=document.started, **environment),),
    )
    assert listing.changes(resumed) == changes


def test_the_order_ends_with_the_newest_or_the_largest(runs_dir: Path) -> None:
    for day, (name, test_acc) in enumerate([("run-10", 0.9), ("run-9", None), ("other", 0.8)], start=1):
        result = None if test_acc is None else replace(RESULT, test_acc=test_acc)
        status: Any = "failed" if result is None else "finished"
        make_run(runs_dir, name, status=status, result=result, started=f"2026-01-0{day}T00:00:00+00:00")
    found = listing.everything(runs_dir)

    def names(order: RunOrder) -> list[str]:
        return [run.name for run in listing.ordered(found, order)]

    assert names(RunOrder.STARTED) == ["run-10", "run-9", "other"]
    assert names(RunOrder.NAME) == ["other", "run-9", "run-10"]
    assert names(RunOrder.TEST) == ["run-9", "other", "run-10"]
    assert all(sorted(names(order)) == ["other", "run-10", "run-9"] for order in RunOrder)
