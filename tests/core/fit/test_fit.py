from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from era_cli.core.fit import start
from era_cli.core.networks import checkpoint
from era_cli.core.networks.network import Network
from era_cli.core.training import module, muon
from era_cli.core.training.augment import Augmentation
from era_cli.errors import EraError, Interrupted, UsageError
from era_cli.listener import Listener
from era_cli.results import EpochRow, FitPlan
from era_cli.runs import artifacts, best_epoch
from era_cli.runs.document import SCHEMA
from era_cli.runs.run import Run
from tests.support import TINY, make_run, request

Prepare = Callable[..., Any]
COUNTS = {"train": 160, "val": 16, "test": 359}


def test_run_json_records_the_whole_run(finished_run: Path) -> None:
    document = json.loads((finished_run / "run.json").read_text(encoding="utf-8"))
    assert (document["schema"], document["status"]) == (SCHEMA, "finished")
    assert document["recipe"] == {**document["recipe"], **TINY, "flip": 0.0}  # mirrored digits are no digits
    assert document["seed"] == document["recipe"]["seed"] == 0
    assert document["data"]["source"] == "digits"
    assert len(document["data"]["content_hash"]) == 64
    assert document["data"]["counts"] == COUNTS
    assert document["data"]["classes"] == list("0123456789")
    assert len(document["data"]["mean"]) == len(document["data"]["std"]) == 3
    assert set(document["versions"]) == {"era", "torch", "lightning"}
    assert document["device"]["accelerator"] == "cpu"
    assert document["started"] < document["ended"]
    assert document["seconds"] > 0
    assert document["error"] is None
    assert document["result"]["test_count"] == 359
    assert document["result"]["test_acc"] == document["result"]["test_correct"] / 359
    counts = document["data"]["class_counts"]
    assert {name: sum(counts[name]) for name in counts} == document["data"]["counts"]
    assert all(len(count) == 10 for count in counts.values())


def test_metrics_and_steps_agree(finished_run: Path) -> None:
    columns, *rows = (finished_run / "metrics.csv").read_text().splitlines()
    assert columns == "epoch,train_loss,train_acc,val_loss,val_acc,lr,seconds,images_per_second"
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3"]
    run = Run(finished_run)
    steps = run.steps()
    assert [row.step for row in steps] == list(range(1, 16))
    rates = [row.lr for row in steps]
    assert rates.index(max(rates)) == 3  # a quarter of 15 steps
    for row in run.epochs():
        mine = [step.loss for step in steps[(row.epoch - 1) * 5 : row.epoch * 5]]
        assert row.train_loss == pytest.approx(sum(mine) / 5, rel=1e-6)
        assert row.lr == steps[row.epoch * 5 - 1].lr


def test_the_best_checkpoint_is_that_of_the_best_row(finished_run: Path) -> None:
    run = Run(finished_run)
    best = best_epoch.best(run.epochs())
    assert run.read().as_dict()["result"]["best_epoch"] == best.epoch
    assert run.read().as_dict()["result"]["val_acc"] == best.val_acc
    assert checkpoint.read(run.checkpoints / artifacts.BEST)["global_step"] == best.epoch * 5
    assert checkpoint.read(run.checkpoints / artifacts.LAST)["global_step"] == 15


def test_a_worse_epoch_leaves_the_best_checkpoint_alone(fit_digits: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.5, 0.9, 0.7])

    def scripted(self: module.Classifier) -> None:
        self.val_correct = torch.tensor(int(next(accuracies) * self.val_count))

    monkeypatch.setattr(module.Classifier, "on_validation_epoch_end", scripted)
    fit = fit_digits()
    told: list[tuple[int, bool]] = []

    class Tell(Listener):
        def epoch_ended(self, row: EpochRow, best: bool) -> None:
            told.append((row.epoch, best))

    assert fit.train(Tell()).best_epoch == 2
    assert told == [(1, True), (2, True), (3, False)]
    assert checkpoint.read(fit.run.checkpoints / artifacts.BEST)["global_step"] == 10


def test_without_validation_the_last_epoch_is_best(fit_digits: Prepare) -> None:
    fit = fit_digits(val_size=0, epochs=2)
    result = fit.train(Listener())
    assert (result.best_epoch, result.val_acc, result.val_loss) == (2, None, None)
    lines = fit.run.metrics_file.read_text().splitlines()
    assert lines[1].split(",")[3:5] == ["", ""]
    best, last = (fit.run.checkpoints / name for name in (artifacts.BEST, artifacts.LAST))
    assert best.read_bytes() == last.read_bytes()


def test_the_seed_decides_the_training(fit_digits: Prepare, finished_run: Path) -> None:
    first = [Run(finished_run).steps()[0].loss]
    for seed in (0, 6):
        fit = fit_digits(seed=seed, epochs=1)
        fit.train(Listener())
        first.append(fit.run.steps()[0].loss)
    assert first[0] == first[1] != first[2]


def test_a_nan_loss_keeps_the_last_good_checkpoint(fit_digits: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    real = F.cross_entropy

    def poisoned(logits: Any, labels: Any, **options: Any) -> Any:
        loss = real(logits, labels, **options)
        return loss * float("nan") if fit.run.epochs() and "label_smoothing" in options else loss

    fit = fit_digits()
    monkeypatch.setattr(F, "cross_entropy", poisoned)
    with pytest.raises(EraError, match=r"NaN or infinite at step 6 \(epoch 2\); lower --max-lr, or see the last good"):
        fit.train(Listener())
    assert fit.run.read().as_dict()["status"] == "failed"
    assert "diverged" in fit.run.read().as_dict()["error"]
    state = checkpoint.read(fit.run.checkpoints / artifacts.LAST)
    assert state["global_step"] == 5
    assert all(tensor.isfinite().all() for tensor in state["state_dict"].values())
    assert len(fit.run.epochs()) == 1
    assert len(fit.run.steps()) == 5


def test_an_infinite_weight_never_reaches_a_checkpoint(fit_digits: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    def poison(self: module.Classifier) -> None:
        if self.trainer.current_epoch == 1:
            next(self.network.parameters()).data[0] = float("inf")

    monkeypatch.setattr(module.Classifier, "on_validation_epoch_end", poison)
    fit = fit_digits()
    with pytest.raises(EraError, match="a weight was NaN or infinite after step 10"):
        fit.train(Listener())
    assert checkpoint.read(fit.run.checkpoints / artifacts.LAST)["global_step"] == 5


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"val_size": 2000}, "--val-size 2000 leaves none of the 1438"),
        ({"batch_size": 512}, "160 training images cannot fill a batch of 512"),
        ({"batch_size": 160, "epochs": 2}, "2 steps in total cannot make a one-cycle schedule"),
        ({"limit_train": 6, "batch_size": 2}, r"class '.' has no training image left"),
    ],
)
def test_what_cannot_be_trained_makes_no_folder(
    fields: dict[str, Any], says: str, fit_digits: Prepare, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=says):
        fit_digits(**fields)
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_an_unwritable_folder_stops_before_the_first_step(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    start.prepare(request(tmp_path / "open"), Listener())  # imports all that another user may not read
    os.seteuid(65534)
    try:
        with pytest.raises(EraError, match=r"no run can be written under .*closed \(Permission denied\).*--runs-dir"):
            start.prepare(request(closed), Listener())
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", ["random", "alternate"])
def test_the_plan_shows_what_the_first_step_sees(
    mode: str, fit_digits: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = fit_digits(epochs=1, flip=0.5, flip_mode=mode)
    plan = fit.plan()
    assert {name: int(count.sum()) for name, count in plan.class_counts.items()} == COUNTS
    assert plan.class_counts["train"].min() >= 15  # stratified: a tenth each
    assert plan.parameters == 103_954  # of the narrow network
    samples = plan.samples
    seen: list[Any] = []
    real = Augmentation.__call__

    def spy(self: Augmentation, *given: Any) -> Any:
        seen.append(real(self, *given))
        return seen[-1]

    monkeypatch.setattr(Augmentation, "__call__", spy)
    fit.train(Listener())
    # Training draws its plan first, then its first batch.
    assert (seen[1].permute(0, 2, 3, 1).numpy()[: len(samples.images)] == samples.images).all()
    assert len(seen) == 1 + 5


def test_the_network_sees_images_that_grow(fit_digits: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = fit_digits(epochs=2, image_size=16, initial_size=20, grow_until=0.6)
    sides: dict[bool, list[int]] = {True: [], False: []}
    real = Network.forward

    def spy(self: Network, images: Any) -> Any:
        sides[self.training].append(images.shape[-1])
        return real(self, images)

    monkeypatch.setattr(Network, "forward", spy)
    fit.train(Listener())
    assert sides[True] == [10, 10, 12, 12, 14, 14, 16, 16, 16, 16]
    assert set(sides[False]) == {16}
    samples = fit.plan().samples
    assert samples is not None
    assert samples.images.shape[1:3] == (10, 10)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_muon_iterates_in_the_precision_of_training(
    precision: str, fit_digits: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = set()
    real = muon.orthogonalized

    def spy(matrix: Any, *, bf16: bool) -> Any:
        used.add(bf16)
        return real(matrix, bf16=bf16)

    monkeypatch.setattr(muon, "orthogonalized", spy)
    fit_digits(epochs=1, network="fastnet", optimizer="muon", precision=precision).train(Listener())
    assert used == {precision == "bf16"}


@pytest.mark.parametrize("error", [EraError("samples.png cannot be written"), ValueError("a bug")])
def test_an_error_after_the_first_step_fails_the_run(error: Exception, fit_digits: Prepare) -> None:
    def refuse(plan: FitPlan) -> None:
        assert plan.recipe == fit.setup.recipe
        raise error

    fit = fit_digits()
    with pytest.raises(type(error), match=str(error)):
        fit.train(Listener(), after_first_step=refuse)
    document = fit.run.read()
    assert document.status == "failed"
    assert str(error) in (document.error or "")
    assert document.ended is not None


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_exhausted_memory_names_the_options_to_lower(
    error: Exception, fit_digits: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*args: Any) -> None:
        raise error

    monkeypatch.setattr(module.Classifier, "training_step", exhausted)
    with pytest.raises(EraError, match="--batch-size or --image-size"):
        fit_digits().train(Listener())


# Replacing a run


def replacing(tmp_path: Path) -> Any:
    """A Fit that replaces the run `mine`, and which is to leave it alone until its first step."""
    make_run(tmp_path / "runs", "mine", seconds=1234.0)
    return start.prepare(replace(request(tmp_path / "runs", name="mine", epochs=1), overwrite=True), Listener())


def test_the_first_step_replaces_the_old_run(tmp_path: Path) -> None:
    fit, old = replacing(tmp_path), Run(tmp_path / "runs" / "mine")

    class Watch(Listener):
        def planned(self, plan: FitPlan) -> None:
            assert plan.run == old.path
            assert old.read().seconds == 1234.0

    def replaced(plan: FitPlan) -> None:
        assert old.read().seconds < 1234.0
        with pytest.raises(EraError, match="in use"), old.lock():
            pass

    fit.train(Watch(), after_first_step=replaced)
    assert (fit.run.path, fit.run.read().status, fit.run.read().name) == (old.path, "finished", "mine")
    assert (fit.run.checkpoints / artifacts.BEST).is_file()
    assert [path.name for path in old.path.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize("stop", [torch.OutOfMemoryError("CUDA out of memory"), signal.SIGINT])
def test_a_run_that_fails_in_its_first_step_replaces_nothing(
    stop: Exception | signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = replacing(tmp_path)
    real = module.Classifier.training_step

    def stopped(*arguments: Any) -> Any:
        if isinstance(stop, Exception):
            raise stop
        os.kill(os.getpid(), stop)
        return real(*arguments)

    monkeypatch.setattr(module.Classifier, "training_step", stopped)
    with pytest.raises((EraError, Interrupted)):
        fit.train(Listener())
    assert Run(tmp_path / "runs" / "mine").read().seconds == 1234.0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine"]
