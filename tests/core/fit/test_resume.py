"""Interrupted plus resumed equals uninterrupted, bit for bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from era_cli.core.fit import run_writer, start
from era_cli.core.networks import checkpoint
from era_cli.errors import EraError, Interrupted, UsageError
from era_cli.listener import Listener
from era_cli.results import EpochRow
from era_cli.runs import artifacts, store
from era_cli.runs.run import Run
from tests.support import request

STEPS_PER_EPOCH = 5


class SignalAt(Listener):
    """Sends this process a signal after the given steps, counted over the session."""

    def __init__(self, *steps: int, signum: int = signal.SIGINT) -> None:
        self._steps = steps
        self._signum = signum
        self.done = 0

    def step_done(self) -> None:
        self.done += 1
        if self.done in self._steps:
            os.kill(os.getpid(), self._signum)


class FailAt(Listener):
    """Raises after the given step, as a crash would."""

    def __init__(self, step: int) -> None:
        self._step = step
        self.done = 0

    def step_done(self) -> None:
        self.done += 1
        if self.done == self._step:
            raise RuntimeError("the machine went down")


def resume(run: Run, listener: Listener | None = None, **changes: Any) -> None:
    blank = replace(request(run.path.parent, source=None), given={}, **changes)
    start.resume(run, blank, listener or Listener()).train(listener or Listener())


def assert_equal_runs(resumed: Path, uninterrupted: Path) -> None:
    one, other = Run(resumed), Run(uninterrupted)
    assert one.steps() == other.steps()
    timeless = [[replace(row, seconds=0, images_per_second=0) for row in run.epochs()] for run in (one, other)]
    assert timeless[0] == timeless[1]
    for name in (artifacts.LAST, artifacts.BEST):
        left, right = (checkpoint.read(run.checkpoints / name) for run in (one, other))
        assert left["global_step"] == right["global_step"]
        assert_same(left["state_dict"], right["state_dict"])
        assert_same(left["optimizer_states"], right["optimizer_states"])
    results = [{**run.read().as_dict()["result"], "seconds": 0} for run in (one, other)]
    assert results[0] == results[1]


def assert_same(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        assert left == right


@pytest.mark.parametrize("step", [1, 4, 5, 7, 10, 15], ids=lambda step: f"after step {step}")
def test_a_run_stopped_by_ctrl_c_and_resumed_equals_an_uninterrupted_one(
    step: int, fit_digits: Callable[..., Any], finished_run: Path
) -> None:
    fit = fit_digits()
    with pytest.raises(Interrupted) as stopped:
        fit.train(SignalAt(step))
    assert stopped.value.exit_code == 130
    assert fit.run.read().as_dict()["status"] == "interrupted"
    # Between epochs and within one: the signal's own step is the last that was taken.
    assert checkpoint.read(fit.run.checkpoints / artifacts.LAST)["global_step"] == step
    resume(fit.run)
    assert_equal_runs(fit.run.path, finished_run)


def test_a_run_stopped_three_times_equals_an_uninterrupted_one(
    fit_digits: Callable[..., Any], finished_run: Path
) -> None:
    fit = fit_digits()
    with pytest.raises(Interrupted):
        fit.train(SignalAt(3))
    with pytest.raises(Interrupted):
        resume(fit.run, SignalAt(1))
    with pytest.raises(Interrupted):
        resume(fit.run, SignalAt(7, signum=signal.SIGTERM))
    resume(fit.run)
    assert_equal_runs(fit.run.path, finished_run)


def test_after_a_crash_the_run_goes_on_from_its_last_timed_checkpoint(
    fit_digits: Callable[..., Any], finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_writer.RunWriter.__init__, "__kwdefaults__", {"save_every": 0.0})
    fit = fit_digits()
    with pytest.raises(RuntimeError, match="went down"):
        fit.train(FailAt(9))
    assert fit.run.read().as_dict()["status"] == "failed"
    assert checkpoint.read(fit.run.checkpoints / artifacts.LAST)["global_step"] == 8
    resume(fit.run)
    assert_equal_runs(fit.run.path, finished_run)


def test_without_a_timed_checkpoint_a_crash_goes_back_to_the_end_of_the_epoch(
    fit_digits: Callable[..., Any], finished_run: Path
) -> None:
    fit = fit_digits()
    with pytest.raises(RuntimeError):
        fit.train(FailAt(9))
    assert checkpoint.read(fit.run.checkpoints / artifacts.LAST)["global_step"] == STEPS_PER_EPOCH
    resume(fit.run)
    assert_equal_runs(fit.run.path, finished_run)


def test_a_truncated_newest_checkpoint_falls_back_to_the_one_before_and_says_so(
    fit_digits: Callable[..., Any], finished_run: Path
) -> None:
    fit = fit_digits()
    with pytest.raises(Interrupted):
        fit.train(SignalAt(12))
    newest = fit.run.checkpoints / artifacts.LAST
    newest.write_bytes(newest.read_bytes()[:-1000])
    blank = replace(request(fit.run.path.parent, source=None), given={})
    again = start.resume(fit.run, blank, Listener())
    assert again.notes
    assert "damaged" in again.notes[0]
    assert artifacts.PREVIOUS in again.notes[0]
    plan = again.plan()
    assert (plan.steps_done, [row.epoch for row in plan.rows_done]) == (10, [1, 2])
    again.train(Listener())
    assert_equal_runs(fit.run.path, finished_run)


def test_rows_past_the_checkpoint_are_dropped_even_a_torn_one(
    fit_digits: Callable[..., Any], finished_run: Path
) -> None:
    fit = fit_digits()
    with pytest.raises(Interrupted):
        fit.train(SignalAt(STEPS_PER_EPOCH))
    row = fit.run.epochs()[0]
    from era_cli.runs import history

    history.append(fit.run.metrics_file, [replace(row, epoch=2)])
    with fit.run.steps_file.open("a") as file:
        file.write("6,0.1,2.0\n7,0.")
    resume(fit.run)
    assert_equal_runs(fit.run.path, finished_run)


def test_an_interrupted_final_test_is_all_that_is_left_to_do(
    fit_digits: Callable[..., Any], finished_run: Path
) -> None:
    class StopTesting(Listener):
        def epoch_ended(self, row: EpochRow, best: bool) -> None:
            if row.epoch == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    fit = fit_digits()
    with pytest.raises(Interrupted) as stopped:
        fit.train(StopTesting())
    assert stopped.value.exit_code == 143
    counter = SignalAt()
    resume(fit.run, counter)
    assert counter.done == 0
    assert_equal_runs(fit.run.path, finished_run)


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"epochs": 30}, "--epochs 30"),
        ({"max_lr": 0.3}, "--max-lr 0.3"),
        ({"batch_size": 64}, "--batch-size 64"),
        ({"name": "session12"}, "--recipe session12"),
        ({"seed": 1}, "--seed 1"),
    ],
)
def test_a_changed_option_is_refused_by_name(
    fields: dict[str, Any], option: str, fit_digits: Callable[..., Any]
) -> None:
    fit = fit_digits()
    with pytest.raises(Interrupted):
        fit.train(SignalAt(2))
    changed = replace(request(fit.run.path.parent, source=None), given=fields)
    with pytest.raises(UsageError, match=option):
        start.resume(fit.run, changed, Listener())


def test_other_data_are_refused(fit_digits: Callable[..., Any]) -> None:
    fit = fit_digits()
    with pytest.raises(Interrupted):
        fit.train(SignalAt(2))
    with pytest.raises(UsageError, match="--data cifar10 differs from the digits"):
        resume(fit.run, source="cifar10")
    fit.run.update(data={**fit.run.read().as_dict()["data"], "content_hash": "0" * 64})
    with pytest.raises(EraError, match="are not those"):
        resume(fit.run)


def test_the_same_options_are_accepted(fit_digits: Callable[..., Any], finished_run: Path) -> None:
    fit = fit_digits()
    with pytest.raises(Interrupted):
        fit.train(SignalAt(2))
    start.resume(fit.run, request(fit.run.path.parent), Listener()).train(Listener())
    assert_equal_runs(fit.run.path, finished_run)


def test_a_finished_run_is_not_resumed(finished_run: Path) -> None:
    with pytest.raises(EraError, match="is finished"):
        resume(store.find(finished_run.parent, "latest"))


def test_a_run_without_a_checkpoint_is_never_silently_begun_anew(fit_digits: Callable[..., Any]) -> None:
    fit = fit_digits()
    with pytest.raises(EraError, match="holds no checkpoint yet"):
        resume(fit.run)


def test_a_run_in_training_is_not_resumed(fit_digits: Callable[..., Any]) -> None:
    fit = fit_digits()
    with fit.run.lock(), pytest.raises(EraError, match="in use"):
        resume(fit.run)


def test_a_crash_between_the_newest_and_the_best_checkpoint_is_mended(
    fit_digits: Callable[..., Any], finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = Run(finished_run).read().as_dict()["result"]["best_epoch"]
    real = checkpoint.mark_best

    def crash(folder: Path) -> None:
        if checkpoint.step_of(folder / artifacts.LAST) == best * STEPS_PER_EPOCH:
            raise RuntimeError("the machine went down")
        real(folder)

    fit = fit_digits()
    monkeypatch.setattr(checkpoint, "mark_best", crash)
    with pytest.raises(RuntimeError):
        fit.train(Listener())
    monkeypatch.setattr(checkpoint, "mark_best", real)
    resume(fit.run)
    assert_equal_runs(fit.run.path, finished_run)


def test_a_damaged_best_checkpoint_costs_its_epoch_but_not_the_run(fit_digits: Callable[..., Any]) -> None:
    fit = fit_digits()
    with pytest.raises(Interrupted):
        fit.train(SignalAt(12))
    (fit.run.checkpoints / artifacts.BEST).write_bytes(b"torn")
    for row in fit.run.epochs():  # no later epoch can be better than these
        fit.run.metrics_file.write_text(fit.run.metrics_file.read_text().replace(repr(row.val_acc), "1.0"))
    resume(fit.run)
    result = fit.run.read().as_dict()["result"]
    assert result["best_epoch"] == 3
    assert result["best_val_acc"] == fit.run.epochs()[2].val_acc


def test_a_run_that_another_era_took_on_meanwhile_is_left_alone(fit_digits: Callable[..., Any]) -> None:
    fit = fit_digits()
    with pytest.raises(Interrupted):
        fit.train(SignalAt(2))
    blank = replace(request(fit.run.path.parent, source=None), given={})
    mine, other = (start.resume(fit.run, blank, Listener()) for _ in range(2))
    with pytest.raises(Interrupted):
        other.train(SignalAt(5))
    steps = fit.run.steps()
    with pytest.raises(EraError, match="in the meantime"):
        mine.train(Listener())
    assert fit.run.steps() == steps
    resume(fit.run)
    with pytest.raises(EraError, match="in the meantime"):
        mine.train(Listener())
    assert fit.run.read().as_dict()["status"] == "finished"


def test_every_sitting_stands_in_run_json(fit_digits: Callable[..., Any]) -> None:
    fit = fit_digits()
    with pytest.raises(Interrupted):
        fit.train(SignalAt(2))
    resume(fit.run, command=["era", "fit", "--resume", "latest"])
    document = fit.run.read()
    assert [session["command"] for session in document["sessions"]] == [["era", "fit"], document["command"]]
    assert document["command"] == ["era", "fit", "--resume", "latest"]
    assert document["sessions"][0]["started"] < document["sessions"][1]["started"]


@pytest.mark.parametrize("given", [{"val_size": 144}, {"image_size": 8}, {"precision": "32"}])
def test_an_option_that_names_what_the_run_settled_on_is_no_change(
    given: dict[str, Any], fit_digits: Callable[..., Any]
) -> None:
    fit = fit_digits()
    with pytest.raises(Interrupted):
        fit.train(SignalAt(2))
    same = replace(request(fit.run.path.parent, source=None), given=given)
    assert start.resume(fit.run, same, Listener()).resume_from is not None


def test_a_folder_that_was_moved_is_found_again_with_data(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        (photos / label).mkdir(parents=True)
        for number in range(30):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(photos / label / f"{number}.png")
    fields: dict[str, Any] = {"batch_size": 8, "limit_train": 32, "epochs": 1}
    fit = start.prepare(request(tmp_path / "runs", source=str(photos), **fields), Listener())
    with pytest.raises(Interrupted):
        fit.train(SignalAt(2))
    run = fit.run
    moved = photos.rename(tmp_path / "moved")
    with pytest.raises(EraError, match="--data"):
        start.resume(run, request(tmp_path / "runs", source=None, **fields), Listener())
    fit = start.resume(run, request(tmp_path / "runs", source=str(moved), **fields), Listener())
    fit.train(Listener())
    assert run.read().as_dict()["status"] == "finished"
    assert run.read().as_dict()["data"]["source"] == str(moved)  # so that eval finds it, too
    run.update(status="interrupted")
    (moved / "a" / "0.png").unlink()
    with pytest.raises(EraError, match="are not those"):
        start.resume(run, request(tmp_path / "runs", source=str(moved), **fields), Listener())
