from __future__ import annotations

import contextlib
import copy
import gc
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pytorch_grad_cam as library
import torch
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from era_cli.choices import CamMethod, Smoothing
from era_cli.core.data.normalize import Normalization
from era_cli.core.evaluation import inference
from era_cli.core.evaluation.classifier import TrainedClassifier
from era_cli.core.gradcam import cam
from era_cli.core.gradcam.cam import CamOptions
from era_cli.core.networks import resnet
from era_cli.core.networks.resnet import CustomResNet
from era_cli.errors import EraError, Interrupted
from era_cli.listener import Advance, Listener
from era_cli.results import Images, Labels

NORMALIZATION = Normalization((0.5, 0.4, 0.45), (0.2, 0.25, 0.3))
CLASSES = 6
CHANNELS = (8, 16, 32, 96)
TARGETS = np.array([[0, 1], [2, 3]])
SHARE_OF_LARGEST = 1e-5  # what two ways of computing one map in fp32 may differ by

Maps = npt.NDArray[np.floating]


def noise(count: int, side: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), np.uint8)


@pytest.fixture(scope="module")
def network() -> CustomResNet:
    """A narrow network with features and logits of some size, positive and negative ones; tests leave it as it is."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet, "CHANNELS", CHANNELS)
        narrow = CustomResNet(CLASSES, dropout=0.1, logit_scale=0.5)
    with torch.no_grad():
        narrow.train()(torch.randn(32, 3, 16, 16))
        narrow.linear.weight *= 30
    return narrow.eval()


def classifier(
    network: CustomResNet, normalization: Normalization = NORMALIZATION, mirrored: bool = True
) -> TrainedClassifier:
    return TrainedClassifier(network, normalization, tuple("abcdef"), mirrored)


def answers(network: CustomResNet, images: Images, normalization: Normalization = NORMALIZATION) -> Any:
    everything = np.arange(len(images))
    return inference.logits(classifier(network, normalization), images, everything, Listener(), what="")


def maps(
    network: CustomResNet,
    images: Images,
    targets: Labels,
    method: str,
    layer: str,
    smooth: str = "none",
    mirrored: bool = True,
    *,
    normalization: Normalization = NORMALIZATION,
    listener: Listener | None = None,
) -> Maps:
    return cam.maps(
        classifier(network, normalization, mirrored),
        images,
        targets,
        answers(network, images, normalization),
        CamOptions(method=CamMethod(method), layer=layer, smooth=Smoothing(smooth)),
        listener or Listener(),
    )


def alike(one: Maps, other: Maps) -> bool:
    assert one.shape == other.shape
    return bool(np.abs(one - other).max() <= SHARE_OF_LARGEST * np.abs(other).max())


def hooked(network: CustomResNet, image: Images, target: int, layer: str) -> tuple[Tensor, Tensor]:
    """The output of `layer` for one image, and how the logit of `target` depends on that: both (C, h, w)."""
    network = copy.deepcopy(network)
    caught: dict[str, Any] = {}
    module = network.get_submodule(layer)
    module.register_forward_hook(lambda module, inputs, output: caught.update(features=output[0].detach()))
    module.register_full_backward_hook(lambda module, inputs, outputs: caught.update(gradients=outputs))
    pixels = NORMALIZATION(torch.from_numpy(image[None])).requires_grad_()
    network(pixels)[0, target].backward()
    return caught["features"], caught["gradients"][0][0]


# Each from its paper: features (C, h, w) and gradients (C, h, w) to a map (h, w).
FORMULAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    # Selvaraju et al. 2017, equations 1 and 2
    "gradcam": lambda features, gradients: (gradients.mean(dim=(1, 2))[:, None, None] * features).sum(dim=0),
    # Draelos and Carin 2020, equation 3
    "hirescam": lambda features, gradients: (gradients * features).sum(dim=0),
    # Jiang et al. 2021, equations 4 and 5
    "layercam": lambda features, gradients: (gradients.clamp(min=0) * features).sum(dim=0),
}


@pytest.mark.parametrize("layer", CustomResNet.stages)
@pytest.mark.parametrize("method", FORMULAS)
def test_the_maps_equal_those_of_hooks(network: CustomResNet, method: str, layer: str) -> None:
    images = noise(2, 16)
    ours = maps(network, images, TARGETS, method, layer)
    assert ours.dtype == np.float32
    for row, column in np.ndindex(TARGETS.shape):
        features, gradients = hooked(network, images[row], int(TARGETS[row, column]), layer)
        assert alike(ours[row, column], FORMULAS[method](features, gradients).numpy())


LIBRARY = {"gradcam": library.GradCAM, "hirescam": library.HiResCAM, "layercam": library.LayerCAM}


def of_library(network: CustomResNet, images: Images, targets: Labels, method: str, layer: str) -> Maps:
    """The grad-cam library as its users call it; with `targets` (N,)."""
    pixels = NORMALIZATION(torch.from_numpy(images))
    own = copy.deepcopy(network)
    with LIBRARY[method](own, [own.get_submodule(layer)]) as method_of_library:
        return method_of_library(pixels, [ClassifierOutputTarget(target) for target in targets.tolist()])


def as_the_library_shows(raw: Maps, side: int) -> Maps:
    return scale_cam_image(scale_cam_image(np.maximum(raw, 0), (side, side)))


@pytest.mark.parametrize("method", cam.METHODS)
def test_rectified_and_scaled_they_equal_the_librarys(network: CustomResNet, method: str) -> None:
    images = noise(2, 32)
    ours = maps(network, images, TARGETS, method, "layer2")
    assert ours.shape == (2, 2, 8, 8)
    for column in (0, 1):
        wanted = of_library(network, images, TARGETS[:, column], method, "layer2")
        assert wanted.max() > 0.9
        np.testing.assert_allclose(as_the_library_shows(ours[:, column], 32), wanted, atol=1e-4)


def test_hirescam_of_the_last_layer_adds_up_to_the_logit(network: CustomResNet) -> None:
    images = noise(2, 32)
    ours = maps(network, images, TARGETS, "hirescam", "layer3")
    bias = network.linear.bias.detach().numpy() * network.logit_scale
    wanted = np.take_along_axis(answers(network, images), TARGETS, axis=1) - bias[TARGETS]
    np.testing.assert_allclose(ours.sum(axis=(2, 3)), wanted, rtol=1e-4, atol=1e-4)


# What it takes for the answers


@pytest.mark.parametrize("layer", CustomResNet.stages)
def test_it_explains_the_logits_of_the_evaluation(network: CustomResNet, layer: str) -> None:
    images = noise(3, 16)
    known = answers(network, images)
    for off, refused in ((0.0, False), (0.5e-4, False), (2e-4, True), (-2e-4, True), (np.nan, True)):
        changed = known.copy()
        changed[1, 2] += off * max(1.0, np.abs(known).max())
        with (
            pytest.raises(EraError, match="disagrees with the cached predictions")
            if refused
            else contextlib.nullcontext()
        ):
            cam.maps(
                classifier(network),
                images,
                np.zeros((3, 1), int),
                changed,
                CamOptions(method=CamMethod("gradcam"), layer=layer),
                Listener(),
            )


def test_differently_preprocessed_images_are_refused(network: CustomResNet) -> None:
    images = noise(2, 8)
    known = answers(network, images)
    unnormalized = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    options = CamOptions(method=CamMethod.GRADCAM, layer="prep")
    with pytest.raises(EraError, match="disagrees with the cached predictions") as caught:
        cam.maps(classifier(network, unnormalized), images, TARGETS, known, options, Listener())
    assert "\n" not in str(caught.value)


# What it leaves behind


class Stops(Listener):
    """A signal comes as the first images are done."""

    @contextlib.contextmanager
    def work(self, what: str, total: int, unit: str = "images") -> Iterator[Advance]:
        def advance(done: int) -> None:
            raise Interrupted(signal.SIGINT)

        yield advance


def state(network: CustomResNet) -> Any:
    """All of a network that somebody might notice."""
    return (
        [(name, type(module), module.training) for name, module in network.named_modules()],
        [(name, id(module)) for name, module in network.named_modules()],
        [
            (name, id(value), value.requires_grad, value.grad, value._version)
            for name, value in network.named_parameters()
        ],
        [(name, id(value), value._version) for name, value in network.named_buffers()],
        [
            len(hooks)
            for module in network.modules()
            for hooks in (
                module._forward_hooks,
                module._forward_pre_hooks,
                module._backward_hooks,
                module._backward_pre_hooks,
            )
        ],
    )


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("method", cam.METHODS)
def test_the_network_is_as_it_was(network: CustomResNet, method: str, training: bool, stopped: bool) -> None:
    own = copy.deepcopy(network).train(training)
    own.layer1.requires_grad_(False)
    images, streams = noise(2, 8), (sys.stdout, sys.stderr)
    known = answers(network, images)
    before = state(own)
    with pytest.raises(Interrupted) if stopped else contextlib.nullcontext():
        cam.maps(
            classifier(own),
            images[:1],
            TARGETS[:1],
            known[:1],
            CamOptions(method=CamMethod(method), layer="prep"),
            Stops() if stopped else Listener(),
        )
    assert state(own) == before
    assert (sys.stdout, sys.stderr) == streams


def test_dropout_is_off_even_for_a_network_in_training(network: CustomResNet) -> None:
    images = noise(2, 16)
    wanted = maps(network, images, TARGETS, "gradcam", "layer1")
    assert np.array_equal(maps(copy.deepcopy(network).train(), images, TARGETS, "gradcam", "layer1"), wanted)


@pytest.mark.parametrize("kind", ["frozen", "no_grad"])
def test_it_needs_no_gradients_of_the_caller(network: CustomResNet, kind: str) -> None:
    images = noise(2, 8)
    wanted = maps(network, images, TARGETS, "gradcam", "prep")
    own = copy.deepcopy(network)
    if kind == "frozen":
        own.requires_grad_(False)
    with torch.no_grad() if kind == "no_grad" else contextlib.nullcontext():
        assert np.array_equal(maps(own, images, TARGETS, "gradcam", "prep"), wanted)


def test_maps_are_made_in_fp32_even_within_autocast(network: CustomResNet) -> None:
    images = noise(2, 8)
    known = answers(network, images)
    wanted = maps(network, images, TARGETS, "gradcam", "prep")
    with torch.autocast("cpu", torch.bfloat16):
        options = CamOptions(method=CamMethod.GRADCAM, layer="prep")
        ours = cam.maps(classifier(network), images, TARGETS, known, options, Listener())
    assert np.array_equal(ours, wanted)


# How many at once


def held() -> int:
    """The bytes of all tensors that are alive."""
    gc.collect()
    # Of a test of torch.compile, fake tensors without memory may be left.
    tensors = [thing for thing in gc.get_objects() if type(thing) in (Tensor, torch.nn.Parameter)]
    return sum({tensor.data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


class Ear(Listener):
    """Notes how many images are done each time, and does something then."""

    def __init__(self, each: Callable[[], object] = lambda: None) -> None:
        self.total = -1
        self.done: list[int] = []
        self.results: list[object] = []
        self._each = each

    @contextlib.contextmanager
    def work(self, what: str, total: int, unit: str = "images") -> Iterator[Advance]:
        self.total = total

        def advance(done: int) -> None:
            self.done.append(done)
            self.results.append(self._each())

        yield advance


def test_many_images_take_no_more_memory_than_a_few(network: CustomResNet) -> None:
    images = noise(192, 8)
    targets = np.arange(192)[:, None] % CLASSES
    ear, before = Ear(held), held()
    maps(network, images, targets, "gradcam", "layer2", listener=ear)
    assert (ear.total, sum(ear.done)) == (192, 192)
    assert len(ear.done) > 2
    assert len(set(ear.results)) == 1
    assert held() == before


@pytest.mark.parametrize(("method", "smooth"), [("gradcam", "none"), ("layercam", "aug")])
def test_batching_changes_no_map(network: CustomResNet, method: str, smooth: str) -> None:
    images = noise(70, 8)
    targets = np.stack([np.arange(70) % CLASSES, np.arange(1, 71) % CLASSES], axis=1)
    together = maps(network, images, targets, method, "layer1", smooth)
    assert together.shape == (70, 2, 4, 4)
    for row in (0, 40, 63, 64, 69):  # 64 are taken at once
        alone = maps(network, images[row : row + 1], targets[row : row + 1], method, "layer1", smooth)[0]
        assert np.abs(together[row] - alone).max() <= 1e-3 * np.abs(alone).max()


def test_larger_images_come_fewer_at_a_time(network: CustomResNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cam, "_CHUNK", 8)
    for side, done in ((8, [5]), (32, [5]), (64, [2, 2, 1]), (96, [1] * 5)):
        ear = Ear()
        maps(network, noise(5, side), np.zeros((5, 1), int), "gradcam", "layer3", listener=ear)
        assert ear.done == done


def test_no_images_have_no_maps(network: CustomResNet) -> None:
    ours = cam.maps(
        classifier(network),
        noise(0, 8),
        np.zeros((0, 2), int),
        np.zeros((0, CLASSES), np.float32),
        CamOptions(method=CamMethod.GRADCAM, layer="layer1"),
        Listener(),
    )
    assert ours.shape[:2] == (0, 2)
    assert ours.ndim == 4


# Smoothing


def contrasted(contrast: float) -> Normalization:
    """Multiplies what the network reads."""
    red, green, blue = (deviation / contrast for deviation in NORMALIZATION.std)
    return Normalization(NORMALIZATION.mean, (red, green, blue))


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_augmentation_smoothing_is_the_mean_over_views(network: CustomResNet, method: str, mirrored: bool) -> None:
    images = noise(2, 16)
    views = []
    for contrast in (1.0, 0.9, 1.1):
        normalization = contrasted(contrast)
        views.append(maps(network, images, TARGETS, method, "layer1", normalization=normalization))
        if mirrored:
            flipped = np.ascontiguousarray(images[..., ::-1])
            view = maps(network, flipped, TARGETS, method, "layer1", normalization=normalization)
            views.append(view[..., ::-1])
    ours = maps(network, images, TARGETS, method, "layer1", "aug", mirrored)
    wanted = np.mean(views, axis=0)
    assert np.abs(ours - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert not alike(ours, views[0])


def test_without_smoothing_a_mirror_image_is_another_image(network: CustomResNet) -> None:
    images = noise(2, 16)
    plain = maps(network, images, TARGETS, "gradcam", "layer1", "none", True)
    assert np.array_equal(plain, maps(network, images, TARGETS, "gradcam", "layer1", "none", False))


def test_mirroring_makes_symmetric_maps_symmetric(network: CustomResNet) -> None:
    half = noise(1, 8)[..., :4]
    images = np.concatenate([half, half[..., ::-1]], axis=-1)
    for mirrored in (True, False):
        ours = maps(network, images, TARGETS[:1], "gradcam", "prep", "aug", mirrored)
        assert alike(ours[..., ::-1], ours) == mirrored
