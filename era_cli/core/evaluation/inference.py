"""A network's answers on images: the one function behind every reported test figure. Loads no lightning."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from era_cli.choices import Tta
from era_cli.core.data.batches import evaluation_batch_size
from era_cli.core.data.dataset import Dataset
from era_cli.core.data.normalize import Normalization
from era_cli.listener import Listener
from era_cli.recipes import REFERENCE_IMAGE_SIZE
from era_cli.results import Evaluation, Images, Labels

View = Callable[[Tensor], Tensor]


@contextlib.contextmanager
def judging(network: nn.Module) -> Iterator[torch.device]:
    """The network as it judges, on the device that is yielded: in fp32, without dropout; afterwards as it was before.

    That keeps a GPU's convolutions from TF32, torch's default for them, and a caller's autocast out.
    """
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False), torch.autocast(device.type, enabled=False):
            yield device
    finally:
        network.train(training)


def evaluate(
    network: nn.Module,
    dataset: Dataset,
    indices: Labels,
    normalization: Normalization,
    listener: Listener,
    *,
    what: str,
    tta: str = Tta.NONE,
) -> Evaluation:
    """The logits of the images at `indices`, in fp32, without augmentation, on the network's device.

    Args:
        indices: (N,) places in the dataset.
        what: what to call this work to the listener.
        tta: test-time augmentation: the logits are then the mean over views of the image.
    """
    return Evaluation(
        index=dataset.source_index(indices),
        labels=dataset.labels[indices],
        logits=logits(network, dataset.images, indices, normalization, listener, what=what, tta=tta),
        classes=dataset.classes,
    )


def logits(
    network: nn.Module,
    images: Images,
    indices: Labels,
    normalization: Normalization,
    listener: Listener,
    *,
    what: str,
    tta: str = Tta.NONE,
) -> npt.NDArray[np.float32]:
    """The logits (N, K) of those of the images (M, 3, H, W) uint8 that lie at `indices` (N,); else as `evaluate`."""
    side = images.shape[-1]
    batch = evaluation_batch_size(side)
    views = TTA[tta](max(1, round(side / REFERENCE_IMAGE_SIZE)))
    found: list[Tensor] = []
    with judging(network) as device, torch.inference_mode(), listener.work(what, len(indices)) as advance:
        for start in range(0, len(indices), batch):
            part = indices[start : start + batch]
            pixels = normalization(_sent(torch.from_numpy(images[part]), device))
            answers = [network(view(pixels)) * weight for weight, view in views]
            found.append(torch.stack(answers).sum(dim=0))
            advance(len(part))
    return torch.cat(found).cpu().numpy()


def _sent(images: Tensor, device: torch.device) -> Tensor:
    """On a GPU without waiting: no batch waits for the one before it."""
    return images.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else images


def _identity(images: Tensor) -> Tensor:
    return images


def _mirrored(images: Tensor) -> Tensor:
    return images.flip(-1)


def _shifted(images: Tensor, by: int) -> Tensor:
    """Moved along the diagonal by `by` pixels, the border reflected."""
    side, room = images.shape[-1], abs(by)
    padded = F.pad(images, (room,) * 4, mode="reflect")
    start = room - by
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
