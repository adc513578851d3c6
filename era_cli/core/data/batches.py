"""Batches indexed from arrays, in an order that depends on (seed, epoch) only. Loads no lightning."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from era_cli.core.data.share import WHOLE, Share
from era_cli.core.seeds import Stream, generator
from era_cli.recipes import REFERENCE_IMAGE_SIZE

EVALUATION_BATCH = 256  # for images of 32 px; larger images get smaller batches, so that memory use stays the same

Batch = tuple[Tensor, Tensor]


class Batches:
    """Batches of images (B, 3, H, W) uint8 and labels (B,) in the order of the indices `order`, from batch `skip` on.

    The length is that of the whole epoch: Lightning counts skipped batches as done. Of each batch only the `share` of
    one process is yielded. Images are mirrored where `mirrored`, a boolean for each of `images`, says so.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        order: Tensor,
        batch_size: int,
        *,
        skip: int = 0,
        drop_last: bool,
        share: Share = WHOLE,
        mirrored: Tensor | None = None,
    ) -> None:
        self._images = images
        self._labels = labels
        self._order = order
        self._batch_size = batch_size
        self._skip = skip
        self._drop_last = drop_last
        self._share = share
        self._mirrored = mirrored

    def __len__(self) -> int:
        full, rest = divmod(len(self._order), self._batch_size)
        return full if self._drop_last or not rest else full + 1

    def __iter__(self) -> Iterator[Batch]:
        for number in range(self._skip, len(self)):
            indices = self._order[number * self._batch_size : (number + 1) * self._batch_size]
            own = indices[self._share.slice_of(len(indices))]
            images = self._images[own]
            yield images if self._mirrored is None else mirror(images, self._mirrored[own]), self._labels[own]


def epoch_order(train: Tensor, seed: int, epoch: int) -> Tensor:
    """The training indices (T,), shuffled for epoch `epoch` (from 0)."""
    return train[torch.randperm(len(train), generator=generator(seed, Stream.ORDER, epoch))]


def alternating(count: int, fraction: float, seed: int, epoch: int) -> Tensor:
    """Which of `count` images are mirrored in `epoch` (from 0), (count,) bool.

    In the first epoch a random `fraction`, then each image every other epoch (Jordan 2024, arXiv:2404.00498, section
    3.6): any two epochs in a row show both views of every image, where random flips show one of them twice to half.
    """
    first = torch.rand(count, generator=generator(seed, Stream.FLIP)) < fraction
    return ~first if epoch % 2 else first


def mirror(images: Tensor, mirrored: Tensor) -> Tensor:
    """Images (N, C, H, W), those `mirrored` (N,) left for right."""
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def evaluation_batch_size(image_size: int) -> int:
    """How many images of `image_size` pixels a side are evaluated at once."""
    return max(1, min(EVALUATION_BATCH, EVALUATION_BATCH * REFERENCE_IMAGE_SIZE**2 // image_size**2))
