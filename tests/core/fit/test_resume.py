"""Interrupted plus resumed equals uninterrupted, bit for bit."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from era_cli.core.fit import rows, start
from era_cli.core.fit.fit import Fit
from era_cli.core.networks import checkpoint
from era_cli.core.training.setup import Setup
from era_cli.errors import EraError, Interrupted, UsageError
from era_cli.files import atomic_link
from era_cli.listener import Listener
from era_cli.results import EpochRow, LrSuggestion, LrSweep
from era_cli.runs import artifacts, history, store
from era_cli.runs.run import Run
from tests.sessions import SignalAt, resumed, say_computed_by, stopped
from tests.support import assert_equal_runs, files, request

STEPS_PER_EPOCH = 5
Prepare = Callable[..., Fit]


class Notes(Listener):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def as_earlier(run: Run) -> None:
    """Takes the rows out of the run's checkpoints, which those of earlier versions of era do not have."""
    for path in run.checkpoints.iterdir():
        state = checkpoint.read(path)
        del state["callbacks"]["RunWriter"][rows.KEY]
        checkpoint.write(state, path)


@pytest.fixture(scope="module")
def after_two_steps(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run stopped after its second step; not to be written to."""
    return stopped(start.prepare(request(tmp_path_factory.mktemp("runs")), Listener()), 2)


@pytest.mark.parametrize("step", [5, 7, 15], ids=lambda step: f"after step {step}")
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(
    step: int, fit_digits: Prepare, finished_run: Path
) -> None:
    run = stopped(fit_digits(), step)
    assert run.read().status == "interrupted"
    assert checkpoint.read(run.checkpoints / artifacts.LAST)["global_step"] == step
    resumed(run).train(Listener())
    assert_equal_runs(run.path, finished_run)


def test_a_run_stopped_three_times_equals_an_uninterrupted_one(fit_digits: Prepare, finished_run: Path) -> None:
    run = stopped(fit_digits(), 3)
    stopped(resumed(run), 1)
    with pytest.raises(Interrupted) as caught:
        resumed(run).train(SignalAt(7, signum=signal.SIGTERM))
    assert caught.value.exit_code == 143
    resumed(run).train(Listener())
    assert_equal_runs(run.path, finished_run)


def whitening(run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the first convolution of fastnet in the newest checkpoint."""
    tensors = checkpoint.read(run.checkpoints / artifacts.LAST)["state_dict"]
    return tensors["network.whiten.conv.weight"], tensors["network.whiten.conv.bias"]


def test_a_run_whose_images_grow_is_the_same_when_stopped_in_every_phase(tmp_path: Path) -> None:
    """The sizes change after steps 4, 8 and 12, flips alternate after each five, a bias is frozen after step 15."""
    fields: dict[str, Any] = {
        "network": "fastnet",
        "optimizer": "muon",
        "epochs": 4,
        "flip": 0.5,
        "flip_mode": "alternate",
        "image_size": 16,
        "initial_size": 20,
        "grow_until": 0.6,
    }
    whole = start.prepare(request(tmp_path / "whole", **fields), Listener())
    whole.train(Listener())
    run = stopped(start.prepare(request(tmp_path / "runs", **fields), Listener()), 2)
    first = []
    for session in (4, 4, 4, 3):  # up to steps 6, 10, 14 and 17
        stopped(resumed(run), session)
        first.append(whitening(run))
    resumed(run).train(Listener())
    assert_equal_runs(run.path, whole.run.path)
    first.append(whitening(run))
    for weight, _ in first[1:]:
        assert torch.equal(weight, first[0][0])
    changed = [not torch.equal(one, other) for (_, one), (_, other) in pairwise(first)]
    assert changed == [True, True, True, False]


def test_a_truncated_checkpoint_falls_back_to_the_previous(fit_digits: Prepare, finished_run: Path) -> None:
    run = stopped(fit_digits(), 12)
    newest = run.checkpoints / artifacts.LAST
    newest.write_bytes(newest.read_bytes()[:-1000])
    # Rows past the checkpoint are dropped, even an incomplete one.
    history.append(run.metrics_file, [replace(run.epochs()[0], epoch=3)])
    with run.steps_file.open("a") as file:
        file.write("13,0.1,2.0\n14,0.")
    fit = resumed(run)
    assert "damaged" in fit.notes[0]
    assert artifacts.PREVIOUS in fit.notes[0]
    plan = fit.plan()
    assert (plan.steps_done, [row.epoch for row in plan.rows_done]) == (10, [1, 2])
    fit.train(Listener())
    assert_equal_runs(run.path, finished_run)


def test_a_damaged_checkpoint_never_becomes_the_previous_one(fit_digits: Prepare) -> None:
    run = stopped(fit_digits(), 12)
    newest = run.checkpoints / artifacts.LAST
    newest.write_bytes(newest.read_bytes()[:-1000])
    stopped(resumed(run), 1)  # saves once
    states = [checkpoint.read(run.checkpoints / name) for name in (artifacts.PREVIOUS, artifacts.LAST)]
    assert [state["global_step"] for state in states] == [10, 11]


def test_a_checkpoint_that_does_not_fit_falls_back_to_the_previous(fit_digits: Prepare) -> None:
    run = stopped(fit_digits(), 12)
    newest = run.checkpoints / artifacts.LAST
    state = checkpoint.read(newest)
    state["optimizer_states"][0]["state"][1]["momentum_buffer"] = torch.zeros(3)
    checkpoint.write(state, newest)
    fit = resumed(run)
    assert fit.resume_from is not None
    assert fit.resume_from.step == 10
    (note,) = fit.notes
    assert "does not match its run: momentum_buffer of parameter 1 is float32 of shape (3,)" in note
    checkpoint.write(state, run.checkpoints / artifacts.PREVIOUS)
    with pytest.raises(EraError, match="no checkpoint is left"):
        resumed(run)


def spoil(run: Run) -> None:
    """Tears the last line of metrics.csv and drops rows of steps.csv."""
    run.metrics_file.write_bytes(run.metrics_file.read_bytes()[:-9])
    run.steps_file.write_bytes(b"".join(run.steps_file.read_bytes().splitlines(keepends=True)[4:]))


def test_torn_files_are_restored_from_the_checkpoint(fit_digits: Prepare, finished_run: Path) -> None:
    run = stopped(fit_digits(), 12)
    spoil(run)
    told = Notes()
    resumed(run).train(told)
    assert told.notes == [
        f"{path} was damaged or changed; its rows were restored." for path in (run.metrics_file, run.steps_file)
    ]
    assert_equal_runs(run.path, finished_run)


def test_torn_files_of_an_earlier_version_are_found_before_training(fit_digits: Prepare) -> None:
    run = stopped(fit_digits(), 12)
    as_earlier(run)
    whole = run.metrics_file.read_bytes()
    spoil(run)
    with pytest.raises(EraError, match=r"metrics.csv lacks rows of the first 2 epochs.*restore that file"):
        resumed(run)
    run.metrics_file.write_bytes(whole)
    (note,) = resumed(run).notes
    assert note == f"{run.steps_file} lacks 4 rows, which will be missing from the curves."


def test_an_interrupted_final_test_is_made_up(fit_digits: Prepare, finished_run: Path) -> None:
    class StopTesting(Listener):
        def epoch_ended(self, row: EpochRow, best: bool) -> None:
            if row.epoch == 3:
                os.kill(os.getpid(), signal.SIGHUP)

    fit = fit_digits()
    with pytest.raises(Interrupted) as caught:
        fit.train(StopTesting())
    assert caught.value.exit_code == 129
    counter = SignalAt()
    resumed(fit.run).train(counter)
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
def test_a_changed_option_is_refused_by_name(fields: dict[str, Any], option: str, after_two_steps: Run) -> None:
    changed = replace(request(after_two_steps.path.parent, source=None), given=fields)
    with pytest.raises(UsageError, match=option):
        start.resume(after_two_steps, changed, Listener())


def test_the_settled_options_are_accepted(after_two_steps: Run) -> None:
    same = request(after_two_steps.path.parent)
    for given in (same.given, {"val_size": 144}, {"limit_val": 16}, {"image_size": 8}, {"precision": "fp32"}):
        assert start.resume(after_two_steps, replace(same, given=given), Listener()).resume_from is not None


def test_other_data_are_refused(fit_digits: Prepare) -> None:
    run = stopped(fit_digits(), 2)
    with pytest.raises(UsageError, match="--data cifar10 differs from the digits"):
        resumed(run, source="cifar10")
    run.update(data=replace(run.read().data, content_hash="0" * 64))
    with pytest.raises(EraError, match="are not those"):
        resumed(run)


def test_a_run_that_cannot_be_resumed_says_why(fit_digits: Prepare, finished_run: Path) -> None:
    with pytest.raises(EraError, match="is finished"):
        resumed(store.find(finished_run.parent, "latest"))
    fit = fit_digits()
    with pytest.raises(EraError, match="holds no checkpoint yet"):
        resumed(fit.run)
    with fit.run.lock(), pytest.raises(EraError, match="in use"):
        resumed(fit.run)


@pytest.mark.parametrize("name", [".lock", artifacts.METRICS, "checkpoints", f"checkpoints/{artifacts.LAST}"])
def test_links_within_a_run_are_not_written_through(name: str, after_two_steps: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(after_two_steps.path, run.path)
    target = tmp_path / "elsewhere"
    if (run.path / name).exists():
        (run.path / name).rename(target)
    else:
        target.touch()
    (run.path / name).symlink_to(target)
    before = files(tmp_path)
    with pytest.raises(EraError, match=re.escape(f"{run.path / name} is a link")):
        resumed(run)
    assert files(tmp_path) == before


def test_a_crash_before_the_best_checkpoint_is_fixed(
    fit_digits: Prepare, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Run(finished_run).read().result
    assert result is not None
    real = checkpoint.mark_best

    def crash(folder: Path) -> None:
        if checkpoint.read(folder / artifacts.LAST)["global_step"] == result.best_epoch * STEPS_PER_EPOCH:
            raise RuntimeError("the machine went down")
        real(folder)

    fit = fit_digits()
    monkeypatch.setattr(checkpoint, "mark_best", crash)
    with pytest.raises(RuntimeError, match="went down"):
        fit.train(Listener())
    assert fit.run.read().status == "failed"
    monkeypatch.setattr(checkpoint, "mark_best", real)
    resumed(fit.run).train(Listener())
    assert_equal_runs(fit.run.path, finished_run)


def test_a_damaged_best_checkpoint_costs_only_its_epoch(fit_digits: Prepare) -> None:
    run = stopped(fit_digits(), 12)
    as_earlier(run)
    for name in (artifacts.BEST, artifacts.PREVIOUS):
        (run.checkpoints / name).write_bytes(b"damaged")
    for row in run.epochs():  # no later epoch can be better than these
        run.metrics_file.write_text(run.metrics_file.read_text().replace(repr(row.val_acc), "1.0"))
    resumed(run).train(Listener())
    result = run.read().result
    assert result is not None
    assert (result.best_epoch, result.val_acc) == (3, run.epochs()[2].val_acc)


def test_a_best_checkpoint_that_cannot_be_read_is_not_replaced(fit_digits: Prepare) -> None:
    fit = fit_digits()
    path = fit.run.checkpoints / artifacts.BEST

    class Damage(Listener):
        def epoch_ended(self, row: EpochRow, best: bool) -> None:
            if row.epoch == 3:
                path.unlink()
                path.write_bytes(b"damaged")

    with pytest.raises(EraError, match=rf"best.ckpt is damaged.*era fit --resume {fit.run.path}"):
        fit.train(Damage())
    assert path.read_bytes() == b"damaged"


@pytest.mark.parametrize(("second", "best"), [(0.0, 3), (1.0, 2)])
def test_the_tested_epoch_is_one_whose_state_was_kept(fit_digits: Prepare, second: float, best: int) -> None:
    """Versions of era that chose the best epoch otherwise kept the state of one that was not the highest."""
    run = stopped(fit_digits(), 12)
    folder = run.checkpoints
    assert [checkpoint.read(folder / name)["global_step"] for name in (artifacts.PREVIOUS, artifacts.LAST)] == [10, 12]
    atomic_link(folder / artifacts.PREVIOUS, folder / artifacts.BEST)
    first, other = run.epochs()
    as_earlier(run)
    history.restore(run.metrics_file, [replace(first, val_acc=1.0), replace(other, val_acc=second)])
    told = Notes()
    resumed(run).train(told)
    assert [note.split(", ")[0] for note in told.notes] == ["The checkpoint of epoch 1"] * (second == 0)
    result = run.read().result
    assert result is not None
    assert (result.best_epoch, result.val_acc) == (best, run.epochs()[best - 1].val_acc)
    assert run.read().lost_epochs == ((1,) if second == 0 else ())
    assert checkpoint.read(folder / artifacts.BEST)["global_step"] == best * STEPS_PER_EPOCH


def test_a_run_resumed_elsewhere_meanwhile_is_left_alone(fit_digits: Prepare) -> None:
    run = stopped(fit_digits(), 2)
    mine, other = (resumed(run, command=["era", "fit", "--resume", "latest"]) for _ in range(2))
    stopped(other, 5)
    steps = run.steps()
    with pytest.raises(EraError, match="in the meantime"):
        mine.train(Listener())
    assert run.steps() == steps
    resumed(run).train(Listener())
    with pytest.raises(EraError, match="in the meantime"):
        mine.train(Listener())
    document = run.read()
    assert document.status == "finished"
    # Every session is recorded.
    commands = [("era", "fit"), ("era", "fit", "--resume", "latest"), ("era", "fit")]
    assert [session.command for session in document.sessions] == commands
    assert document.command == commands[-1]


def test_a_moved_folder_is_found_again_with_data(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        (photos / label).mkdir(parents=True)
        for number in range(30):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(photos / label / f"{number}.png")
    fields: dict[str, Any] = {"batch_size": 8, "limit_train": 32, "epochs": 1}
    fit = start.prepare(request(tmp_path / "runs", source=str(photos), **fields), Listener())
    run = stopped(fit, 2)
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


def test_wall_time_includes_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = [0.0]

    def swept(setup: Setup, listener: Listener) -> LrSweep:
        late[0] += 1_000
        return LrSweep(
            rates=np.array([0.01, 0.1]),
            losses=np.ones((1, 2)),
            smoothed=np.ones(2),
            seeds=(0,),
            stops=(None,),
            suggestions=(suggestion,),
            recommended=suggestion,
            reason="",
            verdict="",
        )

    suggestion = LrSuggestion(rule="steepest", lr=0.05, spread=(0.05, 0.05))
    monkeypatch.setattr("era_cli.core.lr_find.sweep.sweep", swept)
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + late[0])
    monkeypatch.setattr("era_cli.core.fit.stopwatch.time", clock)
    fit = start.prepare(replace(request(tmp_path), find_lr=True), Listener())
    run = stopped(fit, 2)
    before = run.read().seconds
    assert 1_000 < before < 1_500
    late[0] += 5_000  # between the sessions
    result = resumed(run).train(Listener())
    assert before < result.seconds <= run.read().seconds < 2_000


def test_a_resumed_run_has_the_threads_that_it_had(after_two_steps: Run, tmp_path: Path) -> None:
    """With others every sum of floats may round otherwise."""
    run = Run(tmp_path / "run")
    shutil.copytree(after_two_steps.path, run.path)
    cores = os.cpu_count() or 1
    assert (run.read().device.threads, resumed(run).notes) == (1, ())
    torch.set_num_threads(2)
    try:
        fit = resumed(run)
        assert torch.get_num_threads() == 1
        assert fit.environment.device.threads == 1
        assert fit.notes == ("Training with 1 CPU thread, as before; by default 2 would be used.",)
        # run.json names the last session, which may have saved nothing: what counts is the checkpoint.
        run.update(device=replace(run.read().device, threads=cores + 2))
        say_computed_by(run, device={"threads": cores + 1, "name": "another processor"})
        (note,) = resumed(run).notes
        assert note.startswith("The run is resumed with a different processor (another processor then, ")
        assert f"number of threads ({cores + 1} then, 1 now): its result may not be bit for bit" in note
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(1)
