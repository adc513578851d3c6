from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from era_cli.core.data import batches, digits
from era_cli.core.data.dataset import Dataset
from era_cli.core.evaluation import inference
from era_cli.core.evaluation.classifier import TrainedClassifier
from era_cli.core.evaluation.trained_run import TrainedRun
from era_cli.listener import Advance, Listener
from era_cli.results import Evaluation, Images
from era_cli.runs import artifacts
from era_cli.runs.run import Run

CPU = torch.device("cpu")


@pytest.mark.parametrize(("side", "images"), [(8, 256), (32, 256), (64, 64), (512, 1), (1024, 1)])
def test_large_images_come_in_smaller_batches(side: int, images: int) -> None:
    assert batches.evaluation_batch_size(side) == images


def test_it_equals_single_images_and_the_runs_test_result(finished_run: Path) -> None:
    run = Run(finished_run)
    document = run.read().as_dict()
    classifier = TrainedRun(run, run.checkpoints / artifacts.BEST, CPU).classifier
    network, normalization = classifier.network, classifier.normalization
    dataset = digits.load(document["data"]["image_size"])
    evaluation = inference.evaluate(classifier, dataset, dataset.test, Listener(), what="")
    with torch.inference_mode():
        single = [network(normalization(torch.from_numpy(dataset.images[[index]])))[0] for index in dataset.test]
    assert np.abs(torch.stack(single).numpy() - evaluation.logits).max() < 1e-4
    assert (evaluation.labels == dataset.labels[dataset.test]).all()
    assert evaluation.accuracy == document["result"]["test_acc"]
    assert evaluation.loss == document["result"]["test_loss"]


def test_it_computes_in_fp32_and_leaves_the_network_unchanged(finished_run: Path) -> None:
    classifier = TrainedRun(Run(finished_run), finished_run / artifacts.CHECKPOINTS / artifacts.BEST, CPU).classifier
    network = classifier.network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    kinds = set()
    handle = network.get_submodule("layer3").register_forward_hook(
        lambda module, inputs, output: kinds.add(output.dtype)
    )
    dataset = digits.load(8)
    with torch.autocast("cpu", torch.bfloat16):
        inference.evaluate(classifier, dataset, dataset.test[:5], Listener(), what="")
    handle.remove()
    assert kinds == {torch.float32}
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


# Test-time augmentation


def noise(count: int, side: int) -> Dataset:
    """Images no two of which are alike, so that no view of one is another."""
    images = np.random.default_rng(side).integers(0, 256, (count, 3, side, side), np.uint8)
    return Dataset(
        name="noise",
        source="noise",
        classes=tuple("0123456789"),
        images=images,
        labels=np.arange(count) % 10,
        train=np.arange(0),
        test=np.arange(count),
        content_hash="",
    )


def moved(image: Images, down_right: int) -> Images:
    """The image (3, H, W) moved along its diagonal, the border reflected."""
    room, side = abs(down_right), image.shape[-1]
    padded = np.pad(image, ((0, 0), (room, room), (room, room)), mode="reflect")
    start = room - down_right
    return padded[:, start : start + side, start : start + side]


def views(image: Images, tta: str, distance: int) -> list[tuple[float, Images]]:
    """The views of one image (3, H, W), each with its weight, as the documents describe them."""
    if tta == "none":
        return [(1.0, image)]
    if tta == "flip":
        return [(0.5, image), (0.5, image[:, :, ::-1])]
    shifts = [moved(image, by) for by in (-distance, distance)]
    return [
        *((0.25, view) for view in (image, image[:, :, ::-1])),
        *((0.125, view) for shift in shifts for view in (shift, shift[:, :, ::-1])),
    ]


@pytest.fixture(scope="module")
def classifier(finished_run: Path) -> TrainedClassifier:
    return TrainedRun(Run(finished_run), finished_run / artifacts.CHECKPOINTS / artifacts.BEST, CPU).classifier


def by_hand(classifier: TrainedClassifier, dataset: Dataset, tta: str, distance: int) -> npt.NDArray[np.float64]:
    """The logits of every image by one forward pass for each of its views, (N, K)."""
    rows = []
    with torch.inference_mode():
        for image in dataset.images:
            row = np.zeros(len(dataset.classes))
            for weight, view in views(image, tta, distance):
                pixels = classifier.normalization(torch.from_numpy(view.copy()[None]))
                answer = classifier.network(pixels)[0]
                row += weight * answer.double().numpy()
            rows.append(row)
    return np.stack(rows)


def evaluated(classifier: TrainedClassifier, dataset: Dataset, **options: Any) -> Evaluation:
    return inference.evaluate(classifier, dataset, dataset.test, Listener(), what="", **options)


@pytest.mark.parametrize("tta", ["none", "flip", "flip-shift"])
@pytest.mark.parametrize(("side", "distance"), [(8, 1), (32, 1), (64, 2)])
def test_logits_are_the_mean_over_the_views(classifier: TrainedClassifier, tta: str, side: int, distance: int) -> None:
    dataset = noise(max(2, 96 // side), side)
    wanted, logits = by_hand(classifier, dataset, tta, distance), evaluated(classifier, dataset, tta=tta).logits
    assert np.abs(wanted - logits).max() < 1e-4


@pytest.mark.parametrize("tta", ["none", "flip", "flip-shift"])
def test_batches_change_no_prediction_but_a_near_tie(
    classifier: TrainedClassifier, tta: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "EVALUATION_BATCH", 12)  # 30 images: two whole batches and half of one
    dataset = dataclasses.replace(digits.load(8), test=digits.load(8).test[:30])
    dataset = dataclasses.replace(dataset, images=dataset.images[dataset.test], test=np.arange(30))
    wanted, logits = by_hand(classifier, dataset, tta, 1), evaluated(classifier, dataset, tta=tta).logits
    assert np.abs(wanted - logits).max() < 1e-4
    lead = np.diff(np.sort(wanted, axis=1)[:, -2:])[:, 0]
    assert (lead > 2e-4).mean() > 0.9
    assert (wanted.argmax(axis=1) == logits.argmax(axis=1))[lead > 2e-4].all()


def test_without_augmentation_the_logits_are_the_networks_own(classifier: TrainedClassifier) -> None:
    dataset = noise(20, 8)
    with torch.inference_mode():
        plain = classifier.network(classifier.normalization(torch.from_numpy(dataset.images))).numpy()
    assert np.array_equal(evaluated(classifier, dataset).logits, plain)
    assert np.array_equal(evaluated(classifier, dataset, tta="none").logits, plain)


def test_progress_counts_images_not_views(classifier: TrainedClassifier) -> None:
    heard: list[int] = []

    class Ear(Listener):
        @contextlib.contextmanager
        def work(self, what: str, total: int, unit: str = "images") -> Iterator[Advance]:
            heard.append(-total)
            yield heard.append

    dataset = noise(20, 8)
    inference.evaluate(classifier, dataset, dataset.test, Ear(), what="", tta="flip-shift")
    assert (heard[0], sum(heard[1:])) == (-20, 20)


def test_an_evaluation_names_its_images(classifier: TrainedClassifier) -> None:
    dataset = dataclasses.replace(noise(20, 8), train=np.arange(0, 20, 2), test=np.arange(1, 20, 2))
    evaluation = inference.evaluate(classifier, dataset, dataset.test[3:6], Listener(), what="")
    assert evaluation.index.tolist() == [3, 4, 5]
    assert evaluation.labels.tolist() == [7, 9, 1]
