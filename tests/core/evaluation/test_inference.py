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

from era_cli.core.data import batches, digits, run_data
from era_cli.core.data.dataset import Dataset
from era_cli.core.data.normalize import Normalization
from era_cli.core.evaluation import inference
from era_cli.core.networks import weights
from era_cli.core.networks.network import Network
from era_cli.listener import Advance, Listener
from era_cli.results import Evaluation, Images
from era_cli.runs import artifacts
from era_cli.runs.run import Run


@pytest.mark.parametrize(("side", "images"), [(8, 256), (32, 256), (64, 64), (512, 1), (1024, 1)])
def test_large_images_come_in_smaller_batches(side: int, images: int) -> None:
    assert batches.evaluation_batch_size(side) == images


def test_it_equals_a_loop_over_single_images_and_the_runs_own_test_result(finished_run: Path) -> None:
    run = Run(finished_run)
    document = run.read()
    network = weights.load(document, run.checkpoints / artifacts.BEST).network
    normalization = Normalization(tuple(document["data"]["mean"]), tuple(document["data"]["std"]))
    dataset = digits.load(document["data"]["image_size"])
    evaluation = inference.evaluate(network, dataset, dataset.test, normalization, Listener(), what="")
    with torch.inference_mode():
        single = [network(normalization(torch.from_numpy(dataset.images[[index]])))[0] for index in dataset.test]
    assert np.abs(torch.stack(single).numpy() - evaluation.logits).max() < 1e-4
    assert (evaluation.labels == dataset.labels[dataset.test]).all()
    assert evaluation.accuracy == document["result"]["test_acc"]
    assert evaluation.loss == document["result"]["test_loss"]


def test_it_computes_in_fp32_without_autocast_and_leaves_the_network_as_it_was(finished_run: Path) -> None:
    run = Run(finished_run)
    network = weights.load(run.read(), run.checkpoints / artifacts.BEST).network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    kinds = set()
    handle = network.get_submodule("layer3").register_forward_hook(
        lambda module, inputs, output: kinds.add(output.dtype)
    )
    dataset = digits.load(8)
    normalization = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    inference.evaluate(network, dataset, dataset.test[:5], normalization, Listener(), what="")
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
def judge(finished_run: Path) -> tuple[Network, Normalization]:
    run = Run(finished_run)
    document = run.read()
    return weights.load(document, run.checkpoints / artifacts.BEST).network, run_data.normalization(document)


Judge = tuple[Network, Normalization]


def by_hand(judge: Judge, dataset: Dataset, tta: str, distance: int) -> npt.NDArray[np.float64]:
    """The logits of every image by one forward pass for each of its views, (N, K)."""
    network, normalization = judge
    rows = []
    with torch.inference_mode():
        for image in dataset.images:
            row = np.zeros(len(dataset.classes))
            for weight, view in views(image, tta, distance):
                answer = network(normalization(torch.from_numpy(view.copy()[None])))[0]
                row += weight * answer.double().numpy()
            rows.append(row)
    return np.stack(rows)


def judged(judge: Judge, dataset: Dataset, **options: Any) -> Evaluation:
    return inference.evaluate(judge[0], dataset, dataset.test, judge[1], Listener(), what="", **options)


@pytest.mark.parametrize("tta", ["none", "flip", "flip-shift"])
@pytest.mark.parametrize(("side", "distance"), [(8, 1), (32, 1), (64, 2)])
def test_the_logits_are_the_mean_over_the_views_of_each_image(judge: Judge, tta: str, side: int, distance: int) -> None:
    dataset = noise(max(2, 96 // side), side)
    wanted, logits = by_hand(judge, dataset, tta, distance), judged(judge, dataset, tta=tta).logits
    assert np.abs(wanted - logits).max() < 1e-4


@pytest.mark.parametrize("tta", ["none", "flip", "flip-shift"])
def test_batches_change_no_prediction_but_a_near_tie(judge: Judge, tta: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "EVALUATION_BATCH", 12)  # 30 images: two whole batches and a part of one
    dataset = dataclasses.replace(digits.load(8), test=digits.load(8).test[:30])
    dataset = dataclasses.replace(dataset, images=dataset.images[dataset.test], test=np.arange(30))
    wanted, logits = by_hand(judge, dataset, tta, 1), judged(judge, dataset, tta=tta).logits
    assert np.abs(wanted - logits).max() < 1e-4
    lead = np.diff(np.sort(wanted, axis=1)[:, -2:])[:, 0]
    assert (lead > 2e-4).mean() > 0.9
    assert (wanted.argmax(axis=1) == logits.argmax(axis=1))[lead > 2e-4].all()


def test_none_is_the_default_and_bit_for_bit_the_networks_own_answer(judge: Judge) -> None:
    network, normalization = judge
    dataset = noise(20, 8)
    with torch.inference_mode():
        plain = network(normalization(torch.from_numpy(dataset.images))).numpy()
    assert np.array_equal(judged(judge, dataset).logits, plain)
    assert np.array_equal(judged(judge, dataset, tta="none").logits, plain)


def test_the_listener_hears_of_images_and_not_of_views(judge: Judge) -> None:
    heard: list[int] = []

    class Ear(Listener):
        @contextlib.contextmanager
        def work(self, what: str, total: int, unit: str = "images") -> Iterator[Advance]:
            heard.append(-total)
            yield heard.append

    dataset = noise(20, 8)
    inference.evaluate(judge[0], dataset, dataset.test, judge[1], Ear(), what="", tta="flip-shift")
    assert (heard[0], sum(heard[1:])) == (-20, 20)


def test_an_evaluation_says_which_images_of_the_split_it_judged(judge: Judge) -> None:
    dataset = dataclasses.replace(noise(20, 8), train=np.arange(0, 20, 2), test=np.arange(1, 20, 2))
    evaluation = inference.evaluate(judge[0], dataset, dataset.test[3:6], judge[1], Listener(), what="")
    assert evaluation.index.tolist() == [3, 4, 5]
    assert evaluation.labels.tolist() == [7, 9, 1]
