"""Class activation maps: where in an image a network sees evidence for a class.

The network is split at the explained layer. What lies before it is computed once, without gradients; what lies behind
it is differentiated with respect to the layer's features. So nothing is hooked, no gradient goes further back than the
layer, and the network is left as it was. The grad-cam library turns features and gradients into a map. Loads no
lightning.
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

from era_cli.choices import CamMethod, Smoothing, Target
from era_cli.core.data.batches import EVALUATION_BATCH, evaluation_batch_size
from era_cli.core.evaluation.classifier import TrainedClassifier
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


@dataclass(frozen=True, kw_only=True)
class CamOptions:
    """How images are explained.

    Args:
        layer: one of the network's stages, whose features are weighted.
        target: the class that a map is for.
        seed: of the random draws by which faithfulness is measured.
    """

    method: CamMethod
    layer: str
    smooth: Smoothing = Smoothing.NONE
    target: Target = Target.PREDICTED
    seed: int = 0

    @property
    def augment(self) -> bool:
        """Whether maps are means over views of the image."""
        return self.smooth in (Smoothing.AUG, Smoothing.BOTH)

    @property
    def project(self) -> bool:
        """Whether maps are principal components, whose sign is arbitrary."""
        return self.smooth in (Smoothing.EIGEN, Smoothing.BOTH) or METHODS[self.method].projects


@dataclass(frozen=True)
class _ForwardPass:
    """A forward pass split at a layer: `features` (N, C, h, w) depend on nothing, `logits` (N, K) on them alone."""

    network: Network
    layer: str
    pixels: Tensor
    features: Tensor
    logits: Tensor

    @property
    def activations(self) -> Maps:
        """The features, as the library wants them."""
        return self.features.detach().cpu().numpy()


def _by_gradients(kind: type[Any], forward: _ForwardPass, target: Tensor, eigen: bool) -> Maps:
    with torch.enable_grad():
        score = forward.logits.gather(1, target[:, None]).sum()  # each logit depends on its own image alone
    (gradients,) = torch.autograd.grad(score, forward.features, retain_graph=True)
    return kind(forward.network, []).get_cam_image(
        None, None, None, forward.activations, gradients.cpu().numpy(), eigen
    )


def _by_features(kind: type[Any], forward: _ForwardPass, target: Tensor, eigen: bool) -> Maps:
    return kind(forward.network, []).get_cam_image(None, None, None, forward.activations, None, eigen)


def _by_masking(kind: type[Any], forward: _ForwardPass, target: Tensor, eigen: bool) -> Maps:
    masked = forward.features.shape[1] * forward.pixels[0].numel() * 4  # bytes that the library holds of each image
    if masked > _MOST_MASKED:
        raise UsageError(
            f"masking images of {forward.pixels.shape[-1]} px by each channel of {forward.layer} takes"
            f" {masked / 1e9:.0f} GB: choose another --method"
        )
    method = kind(forward.network, [])
    method.batch_size = _at_once(forward)
    return method.get_cam_image(forward.pixels, None, _scores(target), forward.activations, None, eigen)


def _by_ablation(kind: type[Any], forward: _ForwardPass, target: Tensor, eigen: bool) -> Maps:
    tail = _Tail(forward.network, forward.layer)
    method = kind(tail, [], batch_size=_at_once(forward))
    maps = method.get_cam_image(
        forward.features.detach(), tail.entry, _scores(target), forward.activations, None, eigen
    )
    # The method divides by the score, which turns the map of a class with a negative one upside down.
    return maps * forward.logits.gather(1, target[:, None]).sign()[:, :, None].detach().cpu().numpy()


def _at_once(forward: _ForwardPass) -> int:
    """Forward passes at once of the methods that mask the image, or ablate channels, one by one."""
    return min(_MASKED, evaluation_batch_size(forward.pixels.shape[-1]))


def _scores(target: Tensor) -> list[ClassifierOutputTarget]:
    return [ClassifierOutputTarget(place) for place in target.tolist()]


class _Tail(nn.Module):
    """A network from behind a layer on; its input passes `entry`, which the library replaces to ablate channels."""

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
    """One of the library's methods, and how it is called.

    `projects`: its map is a principal component, whose sign is arbitrary. `by_class`: its map depends on the class.
    `one_by_one`: it takes a forward pass per channel, so that progress is reported image by image.
    """

    kind: type[Any]
    compute: Callable[[type[Any], _ForwardPass, Tensor, bool], Maps]
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
    classifier: TrainedClassifier,
    images: Images,
    targets: Labels,
    logits: npt.NDArray[np.float32],
    options: CamOptions,
    listener: Listener,
) -> Maps:
    """Raw maps of images (N, 3, H, W) uint8 for the classes `targets` (N, T): (N, T, h, w), as large as the layer.

    They are what the method computes before negative values are clipped and the rest is scaled and enlarged; in fp32,
    on the network's device. With augmentation smoothing they are means over three contrasts of the image and, for a
    network that was trained on mirrored images, over their mirror images; with eigen smoothing they are the first
    principal component over the channels.

    Args:
        logits: (N, K) what the network is known to answer.

    Raises:
        UsageError: the layer is too large for the method.
        EraError: the network disagrees with `logits`.
    """
    if not len(images):
        return np.zeros((*targets.shape, 1, 1), np.float32)
    chunk = max(1, _CHUNK * evaluation_batch_size(images.shape[-1]) // EVALUATION_BATCH)
    if METHODS[options.method].one_by_one:
        chunk = 1
    chunks: list[Maps] = []
    with (
        classifier.evaluating(),
        _silent(),
        listener.work(f"explaining by {options.method}", len(images)) as advance,
    ):
        for start in range(0, len(images), chunk):
            rows = slice(start, start + chunk)
            pixels = classifier.normalization(torch.from_numpy(images[rows]).to(classifier.device))
            chunks.append(_mean_over_views(classifier, pixels, targets[rows], logits[rows], options))
            advance(len(pixels))
    return np.concatenate(chunks)


def _mean_over_views(
    classifier: TrainedClassifier,
    pixels: Tensor,
    targets: Labels,
    logits: npt.NDArray[np.float32],
    options: CamOptions,
) -> Maps:
    """The maps (N, T, h, w) of normalised images (N, 3, H, W), means over the views that smoothing asks for."""
    method, eigen = METHODS[options.method], options.smooth in (Smoothing.EIGEN, Smoothing.BOTH)
    wanted = torch.from_numpy(targets).to(pixels.device)
    views: list[Maps] = []
    for view, is_mirrored in _views(pixels, options.augment, classifier.mirrored):
        forward = _forward(classifier.network, view, options.layer)
        if not views:
            _check_logits(forward.logits, logits)
        if options.project:
            _check_size(forward.features, options.layer)
        view_maps = np.stack([method.compute(method.kind, forward, target, eigen) for target in wanted.T], axis=1)
        view_maps = view_maps[..., ::-1] if is_mirrored else view_maps
        if options.project:
            view_maps = _along(views[0], view_maps) if views else _upright(view_maps)
        views.append(view_maps)
    return np.mean(views, axis=0, dtype=np.float32)


def _forward(network: Network, pixels: Tensor, layer: str) -> _ForwardPass:
    with torch.no_grad():
        features = network.features(pixels, layer)
    features.requires_grad_()
    with torch.enable_grad():
        logits = network.classify(features, layer)
    return _ForwardPass(network, layer, pixels, features, logits)


def _views(pixels: Tensor, augment: bool, mirrored: bool) -> Iterator[tuple[Tensor, bool]]:
    """The images as they are, then for augmentation smoothing others, and whether each is mirrored."""
    for contrast in CONTRASTS if augment else CONTRASTS[:1]:
        yield pixels * contrast, False
        if augment and mirrored:
            yield (pixels * contrast).flip(-1), True


def _check_logits(logits: Tensor, known: npt.NDArray[np.float32]) -> None:
    """What is explained must be what was predicted: other preprocessing would explain another input."""
    own = logits.detach().cpu().numpy()
    if not np.allclose(own, known, rtol=0, atol=TOLERANCE * max(1.0, float(np.abs(known).max()))):
        raise EraError(
            f"the network disagrees with the cached predictions, by {np.abs(own - known).max():.2g} of a logit: remove"
            " the run's predictions-*.npz, so that they are recomputed"
        )


def _check_size(features: Tensor, layer: str) -> None:
    height, width = features.shape[-2:]
    if height * width > _MOST_CELLS:
        raise UsageError(
            f"--layer {layer} is {width}x{height} for these images, too large for a principal component: choose a"
            " later layer, or --smooth none and a method without one"
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
