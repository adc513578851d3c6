from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from era_cli.core.data import digits
from era_cli.core.evaluation import inference
from era_cli.core.evaluation.trained_run import TrainedRun
from era_cli.core.fit import start
from era_cli.core.networks import checkpoint
from era_cli.errors import EraError
from era_cli.listener import Listener
from era_cli.runs import artifacts
from era_cli.runs.run import Run
from tests.support import request

CPU = torch.device("cpu")
CLASSES = tuple("abcdefghij")  # ten, as many as there are digits


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Run:
    """The finished run, to be written to, with no checkpoint but the best and the last."""
    path = Path(shutil.copytree(finished_run, tmp_path / "runs" / "mine", ignore=shutil.ignore_patterns("*.ckpt")))
    for name in (artifacts.BEST, artifacts.LAST):
        (path / "checkpoints" / name).hardlink_to(finished_run / "checkpoints" / name)
    return Run(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images in each of ten class folders."""
    root = tmp_path_factory.mktemp("data") / "my photos"
    draw = np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for place in range(12):
            pixels = draw.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{place:02}.png")
    return root


@pytest.fixture
def photo_run(photos: Path, tmp_path: Path) -> tuple[Run, Path]:
    """A run on a folder of its own that was never trained."""
    own = Path(shutil.copytree(photos, tmp_path / "my photos"))
    asked = request(tmp_path / "runs", source=str(own), batch_size=8, limit_train=None)
    return start.prepare(asked, Listener()).run, own


def opened(run: Run, which: str | None = None) -> TrainedRun:
    return TrainedRun(run, run.checkpoint_file(which), CPU)


def refusal(act: Callable[[], object], kind: type[EraError] = EraError) -> str:
    with pytest.raises(EraError) as caught:
        act()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Which checkpoint


def test_a_finished_run_opens_its_best_checkpoint(run: Run) -> None:
    trained = opened(run)
    assert (trained.checkpoint, trained.checkpoint_name) == (run.checkpoints / "best.ckpt", "best")
    state = checkpoint.read(run.checkpoints / "best.ckpt")["state_dict"]
    for name, tensor in trained.weights.network.state_dict().items():
        assert torch.equal(tensor, state[f"network.{name}"])
    assert not trained.weights.network.training


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_an_unfinished_run_needs_a_named_checkpoint(run: Run, status: str) -> None:
    run.update(status=status)
    sentence = refusal(lambda: opened(run))
    assert status in sentence
    assert "3 of 3 epochs" in sentence
    assert f"era fit --resume {run.path}" in sentence
    assert "--checkpoint best or last" in sentence
    assert opened(run, "best").checkpoint == run.checkpoints / "best.ckpt"
    assert opened(run, "last").checkpoint == run.checkpoints / "last.ckpt"


def test_a_checkpoint_can_be_named_by_path(run: Run, tmp_path: Path) -> None:
    elsewhere = tmp_path / "kept" / "here" / "epoch2.ckpt"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.hardlink_to(run.checkpoints / "last.ckpt")
    for path in (elsewhere, run.checkpoints / "last.ckpt"):
        assert opened(run, str(path)).checkpoint == path


@pytest.mark.parametrize("which", ["last", "lost.ckpt", ".", "Best"])
def test_a_checkpoint_that_is_not_there_is_refused(
    run: Run, which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (run.checkpoints / "last.ckpt").unlink()
    assert "no checkpoint" in refusal(lambda: opened(run, which))


def test_a_checkpoint_of_another_run_is_refused(run: Run, photo_run: tuple[Run, Path]) -> None:
    foreign = run.checkpoints / "best.ckpt"
    assert f"--run {run.path}" in refusal(lambda: opened(photo_run[0], str(foreign)))


# Its network


@pytest.mark.parametrize("state", [{"weights": torch.zeros(1)}, {"state_dict": {}}, {"state_dict": {1: 2}}])
def test_an_unloadable_checkpoint_suggests_another(run: Run, state: Any) -> None:
    path = run.checkpoints / "best.ckpt"
    path.unlink()
    torch.save(state, path)
    sentence = refusal(lambda: opened(run).weights)
    assert "best.ckpt" in sentence
    assert sentence.endswith("name another with --checkpoint")


# Its images


def test_the_splits_are_those_of_training(run: Run) -> None:
    trained = opened(run)
    subsets = {name: trained.subset(name, None, Listener()) for name in ("test", "val", "train")}
    data = trained.document.as_dict()["data"]
    counts, class_counts = data["counts"], data["class_counts"]
    for name, subset in subsets.items():
        assert (subset.name, len(subset.indices)) == (name, counts[name])
        labels = subset.dataset.labels[subset.indices]
        assert np.bincount(labels, minlength=10).tolist() == list(class_counts[name])
    together = np.concatenate([subset.indices for subset in subsets.values()])
    assert len(np.unique(together)) == len(together)
    assert np.array_equal(subsets["test"].indices, digits.load(8).test)


def test_the_validation_split_gives_trainings_accuracy(run: Run) -> None:
    # Its rows in metrics.csv come from Lightning's own loop: another path through other code.
    trained = opened(run)
    subset = trained.subset("val", None, Listener())
    evaluation = inference.evaluate(trained.classifier, subset.dataset, subset.indices, Listener(), what="")
    row = run.epochs()[trained.document.as_dict()["result"]["best_epoch"] - 1]
    assert evaluation.accuracy == pytest.approx(row.val_acc, abs=1e-6)
    assert evaluation.loss == pytest.approx(row.val_loss, abs=1e-4)


def test_an_empty_validation_split_is_refused(tmp_path: Path) -> None:
    run = start.prepare(request(tmp_path / "runs", val_size=0), Listener()).run
    trained = TrainedRun(run, run.checkpoints / "best.ckpt", CPU)
    sentence = refusal(lambda: trained.subset("val", None, Listener()))
    assert "--split test or train" in sentence
    assert len(trained.subset("train", None, Listener()).indices) == 160


def test_a_folder_that_changed_since_is_refused(photo_run: tuple[Run, Path]) -> None:
    run, folder = photo_run
    trained = TrainedRun(run, run.checkpoints / "best.ckpt", CPU)
    assert len(trained.subset("test", None, Listener()).indices) == 24
    Image.new("RGB", (8, 8)).save(folder / "a" / "03.png")
    for ask in (
        lambda: trained.subset("test", None, Listener()),
        lambda: trained.other_subset(str(folder), None, Listener()),
    ):
        assert "are not those" in refusal(ask)


def test_a_folder_that_is_gone_is_named(photo_run: tuple[Run, Path]) -> None:
    run, folder = photo_run
    shutil.rmtree(folder)
    trained = TrainedRun(run, run.checkpoints / "best.ckpt", CPU)
    for ask in (
        lambda: trained.subset("test", None, Listener()),
        lambda: trained.other_subset(str(folder), None, Listener()),
    ):
        assert str(folder) in refusal(ask)


# Other images


def test_the_runs_own_source_means_its_test_split(
    run: Run, photo_run: tuple[Run, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened(run).other_subset("digits", None, Listener()).name == "test"
    own, folder = photo_run
    trained = TrainedRun(own, own.checkpoints / "best.ckpt", CPU)
    monkeypatch.chdir(folder.parent)
    for spelled in (str(folder), "my photos", "./my photos/", "my photos/../my photos"):
        subset = trained.other_subset(spelled, None, Listener())
        assert (subset.name, len(subset.indices)) == ("test", 24)


def test_another_folder_is_evaluated_whole(photo_run: tuple[Run, Path], photos: Path, tmp_path: Path) -> None:
    run, _ = photo_run
    other = tmp_path / "été 2024 (2)"
    shutil.copytree(photos / "c", other / "c")
    Image.new("RGB", (40, 30)).save(other / "c" / "large.png")
    subset = TrainedRun(run, run.checkpoints / "best.ckpt", CPU).other_subset(str(other), None, Listener())
    assert re.fullmatch("data-t_2024_2-[0-9a-f]{6}", subset.name)
    assert (len(subset.indices), subset.dataset.image_size) == (13, 8)
    assert subset.dataset.labels[subset.indices].tolist() == [2] * 13


def test_the_runs_moved_folder_gives_its_test_images(photo_run: tuple[Run, Path], photos: Path, tmp_path: Path) -> None:
    run, _ = photo_run
    moved = tmp_path / "moved"
    shutil.copytree(photos, moved)
    trained = TrainedRun(run, run.checkpoints / "best.ckpt", CPU)
    before = trained.subset("test", None, Listener())
    subset = trained.other_subset(str(moved), None, Listener())
    assert subset.name == "test"
    np.testing.assert_array_equal(subset.dataset.images[subset.indices], before.dataset.images[before.indices])
    assert subset.dataset.content_hash == before.dataset.content_hash


def test_folders_of_one_name_get_separate_files(photo_run: tuple[Run, Path], photos: Path, tmp_path: Path) -> None:
    trained = TrainedRun(photo_run[0], photo_run[0].checkpoints / "best.ckpt", CPU)
    names = set()
    for year in ("2023", "2024"):
        shutil.copytree(photos / "c", tmp_path / year / "test" / "c")
        names.add(trained.other_subset(str(tmp_path / year / "test"), None, Listener()).name)
    assert len(names) == 2


def test_unreadable_images_of_another_folder_are_noted(
    photo_run: tuple[Run, Path], photos: Path, tmp_path: Path
) -> None:
    heard: list[str] = []

    class Ear(Listener):
        def warn(self, text: str) -> None:
            heard.append(text)

    shutil.copytree(photos / "c", tmp_path / "other" / "c")
    (tmp_path / "other" / "c" / "broken.png").write_text("text")
    run, _ = photo_run
    TrainedRun(run, run.checkpoints / "best.ckpt", CPU).other_subset(str(tmp_path / "other"), None, Ear())
    (note,) = heard
    assert "c/broken.png" in note


def test_data_of_other_classes_are_refused(run: Run, photos: Path) -> None:
    assert "not a class of the run" in refusal(lambda: opened(run).other_subset(str(photos), None, Listener()))
