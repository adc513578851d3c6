"""Class activation maps: where in an image a network sees what speaks for a class.

The network is cut in two at the layer that is looked at. What lies before it is computed once, without gradients;
what lies behind it is asked how its scores depend on the layer's features. So nothing is hooked, no gradient goes
further back than the layer, and the network is left as it was. How features and gradients become a map is the
grad-cam library's part. Loads no lightning.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_grad_cam as library
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from era_cli.choices import CamMethod, Smoothing
from era_cli.core.data.batches import EVALUATION_BATCH, evaluation_batch_size
from era_cli.core.data.normalize import Normalization
from era_cli.core.evaluation import inference
from era_cli.core.networks.network import Network
from era_cli.errors import EraError, UsageError
from era_cli.listener import Listener
from era_cli.results import Images, Labels

Maps = npt.NDArray[np.float32]

TOLERANCE = 1e-4  # how far a logit may be from that of the evaluation, or this share of the largest
CONTRASTS = (1.0, 0.9, 1.1)  # of augmentation smoothing, as in the library

_CHUNK = 64  # images of 32 px whose features are held together; more at once is no faster
_MASKED = 64  # images of 32 px likewise, whose channels are masked or ablated
_MOST_MASKED = 4e9  # bytes of masked images, of which the library makes as many as the layer has channels
_MOST_CELLS = 4096  # of a map that is projected: the library's decomposition takes their square in memory


@dataclass(frozen=True)
class _Cut:
    """Images cut at a layer: `features` (N, C, h, w) depend on nothing, `logits` (N, K) on them alone."""

    network: Network
    layer: str
    pixels: Tensor
    features: Tensor
    logits: Tensor

    @property
    def activations(self) -> Maps:
        """The features, as the library wants them."""
        return self.features.detach().cpu().numpy()


def _by_gradients(kind: type[Any], cut: _Cut, target: Tensor, eigen: bool) -> Maps:
    with torch.enable_grad():
        score = cut.logits.gather(1, target[:, None]).sum()  # each logit depends on its own image alone
    (gradients,) = torch.autograd.grad(score, cut.features, retain_graph=True)
    return kind(cut.network, []).get_cam_image(None, None, None, cut.activations, gradients.cpu().numpy(), eigen)


def _by_features(kind: type[Any], cut: _Cut, target: Tensor, eigen: bool) -> Maps:
    return kind(cut.network, []).get_cam_image(None, None, None, cut.activations, None, eigen)


def _by_masking(kind: type[Any], cut: _Cut, target: Tensor, eigen: bool) -> Maps:
    masked = cut.features.shape[1] * cut.pixels[0].numel() * 4  # bytes that the library holds of each image
    if masked > _MOST_MASKED:
        raise UsageError(
            f"masking images of {cut.pixels.shape[-1]} px by each channel of {cut.layer} takes {masked / 1e9:.0f} GB:"
            " take another --method"
        )
    method = kind(cut.network, [])
    method.batch_size = _at_once(cut)
    return method.get_cam_image(cut.pixels, None, _scores(target), cut.activations, None, eigen)


def _by_ablation(kind: type[Any], cut: _Cut, target: Tensor, eigen: bool) -> Maps:
    rest = _Rest(cut.network, cut.layer)
    method = kind(rest, [], batch_size=_at_once(cut))
    maps = method.get_cam_image(cut.features.detach(), rest.entry, _scores(target), cut.activations, None, eigen)
    # The method divides by the score, which turns the map of a class with a negative one upside down.
    return maps * cut.logits.gather(1, target[:, None]).sign()[:, :, None].detach().cpu().numpy()


def _at_once(cut: _Cut) -> int:
    """Forward passes at once of the methods that mask the image, or ablate channels, one by one."""
    return min(_MASKED, evaluation_batch_size(cut.pixels.shape[-1]))


def _scores(target: Tensor) -> list[ClassifierOutputTarget]:
    return [ClassifierOutputTarget(place) for place in target.tolist()]


class _Rest(nn.Module):
    """A network from behind a layer on; what goes in passes `entry`, which the library replaces to ablate channels."""

    def __init__(self, network: Network, layer: str) -> None:
        super().__init__()
        self.entry = nn.Identity()
        self.network = network
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> logits (N, K)."""
        return self.network.classify(self.entry(features), self.layer)


@dataclass(frozen=True)
class Method:
    """One of the library's methods: how it comes to its map, and what is to be known of it.

    `projects`: its map is a principal component, whose sign is arbitrary. `by_class`: its map depends on the class.
    `one_by_one`: it takes a forward pass per channel, so that images are told of one by one.
    """

    kind: type[Any]
    make: Callable[[type[Any], _Cut, Tensor, bool], Maps]
    projects: bool = False
    by_class: bool = True
    one_by_one: bool = False


METHODS: dict[str, Method] = {
    CamMethod.GRADCAM: Method(library.GradCAM, _by_gradients),
    CamMethod.HIRESCAM: Method(library.HiResCAM, _by_gradients),
    CamMethod.GRADCAM_PLUS_PLUS: Method(library.GradCAMPlusPlus, _by_gradients),
    CamMethod.XGRADCAM: Method(library.XGradCAM, _by_gradients),
    CamMethod.LAYERCAM: Method(library.LayerCAM, _by_gradients),
    CamMethod.EIGENCAM: Method(library.EigenCAM, _by_features, projects=True, by_class=False),
    CamMethod.EIGENGRADCAM: Method(library.EigenGradCAM, _by_gradients, projects=True),
    CamMethod.SCORECAM: Method(library.ScoreCAM, _by_masking, one_by_one=True),
    CamMethod.ABLATIONCAM: Method(library.AblationCAM, _by_ablation, one_by_one=True),
}


def maps(
    network: Network,
    images: Images,
    targets: Labels,
    logits: npt.NDArray[np.float32],
    normalization: Normalization,
    listener: Listener,
    *,
    method: str,
    layer: str,
    smooth: str = Smoothing.NONE,
    mirrored: bool = True,
) -> Maps:
    """Raw maps of images (N, 3, H, W) uint8 for the classes `targets` (N, T): (N, T, h, w), as large as the layer.

    They are what the method computes before negative values are cut off and the rest is scaled and enlarged; in fp32,
    on the network's device. With augmentation smoothing they are means over three contrasts of the image and, for a
    network that saw mirrored images in training (`mirrored`), over their mirror images; with eigen smoothing they
    are the first principal component over the channels.

    Args:
        logits: (N, K) what the network is known to answer.
        layer: one of the network's stages.

    Raises:
        UsageError: the layer is too large for the method.
        EraError: the network answers otherwise than `logits` say.
    """
    if not len(images):
        return np.zeros((*targets.shape, 1, 1), np.float32)
    chosen, augment, eigen = (
        METHODS[method],
        smooth in (Smoothing.AUG, Smoothing.BOTH),
        smooth in (Smoothing.EIGEN, Smoothing.BOTH),
    )
    chunk = 1 if chosen.one_by_one else max(1, _CHUNK * evaluation_batch_size(images.shape[-1]) // EVALUATION_BATCH)
    found: list[Maps] = []
    with (
        inference.judging(network) as device,
        _silent(),
        listener.work(f"explaining by {method}", len(images)) as advance,
    ):
        for start in range(0, len(images), chunk):
            rows = slice(start, start + chunk)
            pixels = normalization(torch.from_numpy(images[rows]).to(device))
            wanted = torch.from_numpy(targets[rows]).to(device)
            views: list[Maps] = []
            for view, mirrored_view in _views(pixels, augment, mirrored):
                cut = _cut(network, view, layer)
                if not views:
                    _check(cut.logits, logits[rows])
                if chosen.projects or eigen:
                    _check_size(cut.features, layer)
                made = np.stack([chosen.make(chosen.kind, cut, target, eigen) for target in wanted.T], axis=1)
                made = made[..., ::-1] if mirrored_view else made
                if chosen.projects or eigen:
                    made = _along(views[0], made) if views else _upright(made)
                views.append(made)
            found.append(np.mean(views, axis=0, dtype=np.float32))
            advance(len(pixels))
    return np.concatenate(found)


def _cut(network: Network, pixels: Tensor, layer: str) -> _Cut:
    with torch.no_grad():
        features = network.features(pixels, layer)
    features.requires_grad_()
    with torch.enable_grad():
        logits = network.classify(features, layer)
    return _Cut(network, layer, pixels, features, logits)


def _views(pixels: Tensor, augment: bool, mirrored: bool) -> Iterator[tuple[Tensor, bool]]:
    """The images as they are, then for augmentation smoothing others, and whether each is mirrored."""
    for contrast in CONTRASTS if augment else CONTRASTS[:1]:
        yield pixels * contrast, False
        if augment and mirrored:
            yield (pixels * contrast).flip(-1), True


def _check(logits: Tensor, known: npt.NDArray[np.float32]) -> None:
    """What is explained must be what was predicted: other preprocessing would explain another input."""
    found = logits.detach().cpu().numpy()
    if not np.allclose(found, known, rtol=0, atol=TOLERANCE * max(1.0, float(np.abs(known).max()))):
        raise EraError(
            f"the network answers otherwise than in its predictions, by {np.abs(found - known).max():.2g} of a logit:"
            " remove the run's predictions-*.npz, so that they are computed anew"
        )


def _check_size(features: Tensor, layer: str) -> None:
    height, width = features.shape[-2:]
    if height * width > _MOST_CELLS:
        raise UsageError(
            f"--layer {layer} is {width}x{height} for these images, too large for a principal component: take a later"
            " layer, or --smooth none and a method without"
        )


def _upright(maps: Maps) -> Maps:
    """A principal component's sign is arbitrary: the larger part is made positive.

    Chung and Ying 2025, "Seg-Eigen-CAM", doi:10.3390/app15137562, equation 13.
    """
    highest, lowest = maps.max(axis=(-2, -1), keepdims=True), maps.min(axis=(-2, -1), keepdims=True)
    return np.where(np.abs(lowest) > np.abs(highest), -maps, maps)


def _along(first: Maps, maps: Maps) -> Maps:
    """With the sign by which they agree with the maps of another view, so that a mean does not cancel them."""
    agreement = (first * maps).sum(axis=(-2, -1), keepdims=True)
    return np.where(agreement < 0, -maps, maps)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The library has progress bars and remarks of its own."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
