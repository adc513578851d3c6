"""A classifier's logits on images: the one function behind every reported test result. Loads no lightning."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from era_cli.choices import Tta
from era_cli.core.data.batches import evaluation_batch_size
from era_cli.core.data.dataset import Dataset
from era_cli.core.evaluation.classifier import TrainedClassifier
from era_cli.listener import Listener
from era_cli.recipes import REFERENCE_IMAGE_SIZE
from era_cli.results import Evaluation, Images, Labels

View = Callable[[Tensor], Tensor]


def evaluate(
    classifier: TrainedClassifier,
    dataset: Dataset,
    indices: Labels,
    listener: Listener,
    *,
    what: str,
    tta: str = Tta.NONE,
) -> Evaluation:
    """The logits of the images at `indices` (N,), in fp32, without augmentation, on the network's device.

    Args:
        what: what to call this work to the listener.
        tta: test-time augmentation: the logits are then the mean over views of the image.
    """
    return Evaluation(
        index=dataset.source_index(indices),
        labels=dataset.labels[indices],
        logits=logits(classifier, dataset.images, indices, listener, what=what, tta=tta),
        classes=dataset.classes,
    )


def logits(
    classifier: TrainedClassifier,
    images: Images,
    indices: Labels,
    listener: Listener,
    *,
    what: str,
    tta: str = Tta.NONE,
) -> npt.NDArray[np.float32]:
    """The logits (N, K) of the images (M, 3, H, W) uint8 at `indices` (N,); else as `evaluate`."""
    side = images.shape[-1]
    batch = evaluation_batch_size(side)
    views = TTA[tta](max(1, round(side / REFERENCE_IMAGE_SIZE)))
    batches: list[Tensor] = []
    with classifier.evaluating(), torch.inference_mode(), listener.work(what, len(indices)) as advance:
        for start in range(0, len(indices), batch):
            chosen = images[indices[start : start + batch]]
            pixels = classifier.normalization(_sent(torch.from_numpy(chosen), classifier.device))
            weighted = [classifier.network(view(pixels)) * weight for weight, view in views]
            batches.append(torch.stack(weighted).sum(dim=0))
            advance(len(chosen))
    return torch.cat(batches).cpu().numpy()


def _sent(images: Tensor, device: torch.device) -> Tensor:
    """On a GPU without waiting: no batch waits for the one before it."""
    return images.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else images


def _identity(images: Tensor) -> Tensor:
    return images


def _mirrored(images: Tensor) -> Tensor:
    return images.flip(-1)


def _shifted(images: Tensor, by: int) -> Tensor:
    """Moved along the diagonal by `by` pixels, the border reflected."""
    side, margin = images.shape[-1], abs(by)
    padded = F.pad(images, (margin,) * 4, mode="reflect")
    start = margin - by
    return padded[..., start : start + side, start : start + side]


def _shifted_and_mirrored(images: Tensor, by: int) -> Tensor:
    return _mirrored(_shifted(images, by))


def _flip_shift(distance: int) -> list[tuple[float, View]]:
    shifts: list[tuple[float, View]] = [
        (0.125, partial(view, by=by)) for by in (-distance, distance) for view in (_shifted, _shifted_and_mirrored)
    ]
    return [(0.25, _identity), (0.25, _mirrored), *shifts]


# Each takes the distance of a shift in pixels and gives views with their weights. Mirror and shifts
# are those of airbench (Jordan 2024, arXiv:2404.00498): half for the image and its mirror image,
# half for both moved by one pixel of 32, up left and down right.
TTA: dict[str, Callable[[int], list[tuple[float, View]]]] = {
    Tta.NONE: lambda distance: [(1.0, _identity)],
    Tta.FLIP: lambda distance: [(0.5, _identity), (0.5, _mirrored)],
    Tta.FLIP_SHIFT: _flip_shift,
}
