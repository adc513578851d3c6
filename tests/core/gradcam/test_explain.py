from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from era_cli.choices import CamMethod, Smoothing
from era_cli.core.data import digits
from era_cli.core.evaluation import inference, own_images
from era_cli.core.evaluation.classified_images import ClassifiedImages
from era_cli.core.evaluation.trained_run import Subset, TrainedRun
from era_cli.core.gradcam import cam
from era_cli.core.gradcam import explain as explanation
from era_cli.core.gradcam.cam import CamOptions
from era_cli.errors import EraError
from era_cli.listener import Listener
from era_cli.results import Evaluation, Heatmaps
from era_cli.runs import artifacts
from era_cli.runs.run import Run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def opened(finished_run: Path) -> TrainedRun:
    return TrainedRun(Run(finished_run), finished_run / artifacts.CHECKPOINTS / artifacts.BEST, CPU)


@pytest.fixture(scope="module")
def subset(opened: TrainedRun) -> Subset:
    return opened.subset("test", None, Listener())


@pytest.fixture(scope="module")
def evaluation(opened: TrainedRun, subset: Subset) -> Evaluation:
    return inference.evaluate(opened.classifier, subset.dataset, subset.indices, Listener(), what="")


def explain(opened: TrainedRun, images: ClassifiedImages, **options: Any) -> Heatmaps:
    asked = CamOptions(**{"method": "gradcam", "layer": "layer1", "target": "both", **options})
    return explanation.explain(opened.classifier, images, asked, Listener())


def classified(opened: TrainedRun, files: list[Path]) -> ClassifiedImages:
    images = own_images.load(files, opened.document.data.image_size)
    return ClassifiedImages.of_files(opened, files, images, Listener())


def rows(evaluation: Evaluation, right: bool, count: int) -> Any:
    return np.flatnonzero((evaluation.predicted == evaluation.labels) == right)[:count]


def digit_file(path: Path, number: int) -> Path:
    Image.fromarray(digits.load(8).images[number].transpose(1, 2, 0)).save(path)
    return path


def test_images_of_the_data_keep_their_numbers(opened: TrainedRun, subset: Subset, evaluation: Evaluation) -> None:
    chosen = np.array([40, 3, 100])
    subjects = ClassifiedImages.of_subset(subset, evaluation, chosen)
    assert subjects.index is not None
    assert subjects.labels is not None
    assert subjects.files is None
    dataset = digits.load(8)
    for place, row in enumerate(chosen):
        assert np.array_equal(subjects.images[place], dataset.images[subjects.index[place]])
        assert subjects.labels[place] == dataset.labels[subjects.index[place]]
        assert np.array_equal(subjects.logits[place], evaluation.logits[row])


def test_images_of_a_folder_have_their_names(subset: Subset, evaluation: Evaluation) -> None:
    names = tuple(f"{number}.png" for number in range(len(subset.dataset.images)))
    named = dataclasses.replace(subset, dataset=dataclasses.replace(subset.dataset, files=names))
    subjects = ClassifiedImages.of_subset(named, evaluation, np.array([7, 2]))
    assert subjects.index is not None
    assert subjects.files == tuple(f"{number}.png" for number in subjects.index)


def test_an_own_image_is_classified_like_the_data(
    opened: TrainedRun, subset: Subset, evaluation: Evaluation, tmp_path: Path
) -> None:
    chosen = np.array([5, 0, 11])
    known = ClassifiedImages.of_subset(subset, evaluation, chosen)
    assert known.index is not None
    files = [digit_file(tmp_path / f"{number}.png", number) for number in known.index]
    own = classified(opened, files)
    assert (own.index, own.labels, own.files) == (None, None, tuple(map(str, files)))
    assert np.array_equal(own.images, known.images)
    assert np.abs(own.logits - known.logits).max() < 1e-4
    heatmaps = explain(opened, own, target="predicted")
    assert heatmaps.labels is None
    assert np.array_equal(heatmaps.predicted, evaluation.predicted[chosen])
    assert np.abs(heatmaps.probabilities - evaluation.probabilities[chosen]).max() < 1e-5
    assert np.array_equal(heatmaps.images, known.images.transpose(0, 2, 3, 1))


def test_a_larger_image_is_resized(opened: TrainedRun, tmp_path: Path) -> None:
    digit_file(tmp_path / "small.png", 0)
    with Image.open(tmp_path / "small.png") as small:
        small.resize((64, 64), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    subjects = classified(opened, [tmp_path / "small.png", tmp_path / "large.png"])
    small_image, large_image = subjects.images.astype(int)
    assert large_image.shape == (3, 8, 8)
    assert np.abs(small_image - large_image).mean() < 20


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "folder", "absent"])
def test_an_unreadable_image_is_named(opened: TrainedRun, tmp_path: Path, damage: str) -> None:
    good, bad = digit_file(tmp_path / "good.png", 0), tmp_path / "bad.png"
    if damage == "cut":
        bad.write_bytes(good.read_bytes()[:60])
    elif damage in ("text", "empty"):
        bad.write_text("no picture" * (damage == "text"), encoding="utf-8")
    elif damage == "folder":
        bad.mkdir()
    with pytest.raises(EraError) as caught:
        classified(opened, [good, bad])
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ("there is no image" in str(caught.value)) == (damage == "absent")
    assert ("is a folder" in str(caught.value)) == (damage == "folder")
    with pytest.raises(EraError) as both:
        classified(opened, [bad, tmp_path / "good.png", bad])
    assert str(both.value).count(str(bad)) == (1 if damage in ("absent", "folder") else 2)  # all damaged ones at once


@pytest.mark.parametrize("target", explanation.ROLES)
def test_the_maps_are_for_the_requested_classes(
    opened: TrainedRun, subset: Subset, evaluation: Evaluation, target: str
) -> None:
    chosen = np.concatenate([rows(evaluation, False, 2), rows(evaluation, True, 1)])
    heatmaps = explain(opened, ClassifiedImages.of_subset(subset, evaluation, chosen), target=target)
    wanted = {
        "predicted": [evaluation.predicted[chosen]],
        "true": [evaluation.labels[chosen]],
        "both": [evaluation.predicted[chosen], evaluation.labels[chosen]],
    }[target]
    assert heatmaps.roles == {"both": ("predicted", "true")}.get(target, (target,))
    assert np.array_equal(heatmaps.targets, np.stack(wanted, axis=1))
    maps = cam.maps(
        opened.classifier,
        subset.dataset.images[subset.indices[chosen]],
        heatmaps.targets,
        evaluation.logits[chosen],
        CamOptions(method=CamMethod("gradcam"), layer="layer1"),
        Listener(),
    )
    assert np.array_equal(heatmaps.maps, maps)


@pytest.mark.parametrize(("flip", "mirrored"), [(0.0, False), (0.5, True)])
def test_only_networks_trained_mirrored_are_mirrored(
    opened: TrainedRun, subset: Subset, evaluation: Evaluation, flip: float, mirrored: bool
) -> None:
    recipe = dataclasses.replace(opened.document.recipe, flip=flip)
    document = dataclasses.replace(opened.document, recipe=recipe)
    other = TrainedRun(opened.run, opened.run.checkpoints / artifacts.BEST, CPU)
    other.__dict__["document"] = document  # where a cached property keeps its value
    chosen = rows(evaluation, False, 2)
    heatmaps = explain(other, ClassifiedImages.of_subset(subset, evaluation, chosen), smooth="aug")
    maps = cam.maps(
        dataclasses.replace(opened.classifier, mirrored=mirrored),
        subset.dataset.images[subset.indices[chosen]],
        heatmaps.targets,
        evaluation.logits[chosen],
        CamOptions(method=CamMethod("gradcam"), layer="layer1", smooth=Smoothing("aug")),
        Listener(),
    )
    assert np.array_equal(heatmaps.maps, maps)


def test_one_map_where_both_would_be_equal(opened: TrainedRun, subset: Subset, evaluation: Evaluation) -> None:
    right = ClassifiedImages.of_subset(subset, evaluation, rows(evaluation, True, 3))
    wrong = ClassifiedImages.of_subset(subset, evaluation, rows(evaluation, False, 3))
    assert explain(opened, right).roles == ("predicted",)
    assert explain(opened, right, target="true").roles == ("true",)
    assert explain(opened, wrong, method="layercam").roles == ("predicted", "true")


def test_only_nonempty_maps_are_measured(opened: TrainedRun, subset: Subset, evaluation: Evaluation) -> None:
    # Labelled with the class that the network thinks least of, for which few features speak.
    evaluation = dataclasses.replace(evaluation, labels=evaluation.logits.argmin(axis=1))
    subjects = ClassifiedImages.of_subset(subset, evaluation, np.arange(40))
    heatmaps = explain(opened, subjects, layer="layer2", method="hirescam", target="true")
    shows_nothing = heatmaps.maps[:, 0].max(axis=(1, 2)) <= 0
    empty = shows_nothing.sum()
    assert 0 < empty < 40, empty
    assert heatmaps.faithfulness is not None
    assert heatmaps.faithfulness.count == 40 - empty
    some = ClassifiedImages.of_subset(subset, evaluation, np.flatnonzero(shows_nothing))
    assert explain(opened, some, layer="layer2", method="hirescam", target="true").faithfulness is None


def test_a_map_of_one_cell_is_not_measured(opened: TrainedRun, subset: Subset, evaluation: Evaluation) -> None:
    heatmaps = explain(opened, ClassifiedImages.of_subset(subset, evaluation, np.arange(3)), layer="layer3")
    assert heatmaps.maps.shape[2:] == (1, 1)
    assert not heatmaps.empty.all()
    assert heatmaps.faithfulness is None


def test_no_images_have_no_maps(opened: TrainedRun, subset: Subset, evaluation: Evaluation) -> None:
    heatmaps = explain(opened, ClassifiedImages.of_subset(subset, evaluation, np.arange(0)))
    assert len(heatmaps) == 0
    assert heatmaps.faithfulness is None
    assert heatmaps.probabilities.shape == (0, 10)


def test_saved_maps_load_without_pickle(
    opened: TrainedRun, subset: Subset, evaluation: Evaluation, tmp_path: Path
) -> None:
    heatmaps = explain(opened, ClassifiedImages.of_subset(subset, evaluation, rows(evaluation, False, 3)))
    explanation.save(heatmaps, tmp_path / "maps.npz")
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"maps", "targets", "roles", "classes", "images", "index", "labels", "probabilities"}
        for name in arrays:
            assert np.array_equal(arrays[name], np.array(getattr(heatmaps, name)))
    assert [path.name for path in tmp_path.iterdir()] == ["maps.npz"]


def test_maps_of_own_images_are_saved_with_names(opened: TrainedRun, tmp_path: Path) -> None:
    files = [digit_file(tmp_path / name, number) for number, name in enumerate(("猫.png", "b.png"))]
    subjects = classified(opened, files)
    explanation.save(explain(opened, subjects, target="predicted"), tmp_path / "maps.npz")
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as arrays:
        assert arrays["files"].tolist() == [str(file) for file in files]
        assert not {"index", "labels"} & set(arrays)


def test_unwritable_maps_are_an_error(
    opened: TrainedRun, subset: Subset, evaluation: Evaluation, tmp_path: Path
) -> None:
    heatmaps = explain(opened, ClassifiedImages.of_subset(subset, evaluation, np.arange(1)))
    shutil.copy(__file__, tmp_path / "file")
    with pytest.raises(EraError) as caught:
        explanation.save(heatmaps, tmp_path / "file" / "maps.npz")
    assert "\n" not in str(caught.value)
