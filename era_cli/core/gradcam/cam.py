"""Class activation maps: where in an image a network sees evidence for a class.

The network is split at the explained layer. What lies before it is computed once, without gradients; what lies behind
it is differentiated with respect to the layer's features. So nothing is hooked, no gradient goes further back than the
layer, and the network is left as it was. Loads no lightning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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
CONTRASTS = (1.0, 0.9, 1.1)  # of augmentation smoothing, as in the grad-cam library

_CHUNK = 64  # images of 32 px whose features are held together; more at once is no faster

# By what each method weights the features (N, C, h, w): from the gradients (N, C, h, w) of the logit with respect to
# them. The sum over the channels is the map.
METHODS: dict[str, Callable[[Tensor], Tensor]] = {
    # Selvaraju et al. 2017, "Grad-CAM", arXiv:1610.02391, equations 1 and 2
    CamMethod.GRADCAM: lambda gradients: gradients.mean(dim=(2, 3), keepdim=True),
    # Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM", arXiv:2011.08891, equation 3
    CamMethod.HIRESCAM: lambda gradients: gradients,
    # Jiang et al. 2021, "LayerCAM", doi:10.1109/TIP.2021.3089943, equations 4 and 5
    CamMethod.LAYERCAM: lambda gradients: gradients.clamp(min=0),
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
    with classifier.evaluating(), listener.work(f"explaining by {options.method}", len(images)) as advance:
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
        of_targets = [_map(options.method, features, answer, target) for target in wanted.T]
        view_maps = torch.stack(of_targets, dim=1).cpu().numpy()
        views.append(view_maps[..., ::-1] if is_mirrored else view_maps)
    return np.mean(views, axis=0, dtype=np.float32)


def _forward(network: Network, pixels: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Features (N, C, h, w) that depend on nothing, and logits (N, K) that depend on them alone."""
    with torch.no_grad():
        features = network.features(pixels, layer)
    features.requires_grad_()
    with torch.enable_grad():
        return features, network.classify(features, layer)


def _map(method: str, features: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """The maps (N, h, w) for the classes `target` (N,)."""
    with torch.enable_grad():
        score = logits.gather(1, target[:, None]).sum()  # each logit depends on its own image alone
    (gradients,) = torch.autograd.grad(score, features, retain_graph=True)
    return (METHODS[method](gradients) * features.detach()).sum(dim=1)


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
