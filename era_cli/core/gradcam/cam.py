"""Class activation maps: where in an image a network sees evidence for a class.

The network is split at the explained layer. What lies before it is computed once, without gradients; what lies behind
it is differentiated with respect to the layer's features. So nothing is hooked, no gradient goes further back than the
layer, and the network is left as it was. The grad-cam library turns features and gradients into a map. Loads no
lightning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_grad_cam as library
import torch
from torch import Tensor

from era_cli.choices import CamMethod, Smoothing, Target
from era_cli.core.data.batches import EVALUATION_BATCH, evaluation_batch_size
from era_cli.core.evaluation.classifier import TrainedClassifier
from era_cli.core.networks.network import Network
from era_cli.errors import EraError
from era_cli.listener import Listener
from era_cli.results import Images, Labels

Maps = npt.NDArray[np.float32]

TOLERANCE = 1e-4  # how far a logit may be from that of the evaluation, or this share of the largest
CONTRASTS = (1.0, 0.9, 1.1)  # of augmentation smoothing, as in the library

_CHUNK = 64  # images of 32 px whose features are held together; more at once is no faster

METHODS: dict[str, type[Any]] = {
    CamMethod.GRADCAM: library.GradCAM,  # Selvaraju et al. 2017, arXiv:1610.02391
    CamMethod.HIRESCAM: library.HiResCAM,  # Draelos and Carin 2020, arXiv:2011.08891
    CamMethod.LAYERCAM: library.LayerCAM,  # Jiang et al. 2021, doi:10.1109/TIP.2021.3089943
}


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
    network that was trained on mirrored images, over their mirror images.

    Args:
        logits: (N, K) what the network is known to answer.

    Raises:
        EraError: the network disagrees with `logits`.
    """
    if not len(images):
        return np.zeros((*targets.shape, 1, 1), np.float32)
    chunk = max(1, _CHUNK * evaluation_batch_size(images.shape[-1]) // EVALUATION_BATCH)
    chunks: list[Maps] = []
    with classifier.evaluating(), listener.work(f"computing heat maps ({options.method})", len(images)) as advance:
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
    wanted = torch.from_numpy(targets).to(pixels.device)
    views: list[Maps] = []
    for view, is_mirrored in _views(pixels, options.smooth == Smoothing.AUG, classifier.mirrored):
        features, answer = _forward(classifier.network, view, options.layer)
        if not views:
            _check_logits(answer, logits)
        method = METHODS[options.method](classifier.network, [])
        view_maps = np.stack([_maps(method, features, answer, target) for target in wanted.T], axis=1)
        views.append(view_maps[..., ::-1] if is_mirrored else view_maps)
    return np.mean(views, axis=0, dtype=np.float32)


def _forward(network: Network, pixels: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Features (N, C, h, w) that depend on nothing, and logits (N, K) that depend on them alone."""
    with torch.no_grad():
        features = network.features(pixels, layer)
    features.requires_grad_()
    with torch.enable_grad():
        return features, network.classify(features, layer)


def _maps(method: Any, features: Tensor, logits: Tensor, target: Tensor) -> Maps:
    """The maps (N, h, w) for the classes `target` (N,)."""
    with torch.enable_grad():
        score = logits.gather(1, target[:, None]).sum()  # each logit depends on its own image alone
    (gradients,) = torch.autograd.grad(score, features, retain_graph=True)
    arrays = (features.detach().cpu().numpy(), gradients.cpu().numpy())
    return np.asarray(method.get_cam_image(None, None, None, *arrays, False))


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
            f"the network disagrees with the cached predictions by up to {np.abs(own - known).max():.2g} in a logit:"
            " remove the run's predictions-*.npz, so that they are recomputed"
        )
