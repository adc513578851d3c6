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
    one process is yielded.
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
    ) -> None:
        self._images = images
        self._labels = labels
        self._order = order
        self._batch_size = batch_size
        self._skip = skip
        self._drop_last = drop_last
        self._share = share

    def __len__(self) -> int:
        full, rest = divmod(len(self._order), self._batch_size)
        return full if self._drop_last or not rest else full + 1

    def __iter__(self) -> Iterator[Batch]:
        for number in range(self._skip, len(self)):
            indices = self._order[number * self._batch_size : (number + 1) * self._batch_size]
            own = indices[self._share.slice_of(len(indices))]
            yield self._images[own], self._labels[own]


def epoch_order(train: Tensor, seed: int, epoch: int) -> Tensor:
    """The training indices (T,), shuffled for epoch `epoch` (from 0)."""
    return train[torch.randperm(len(train), generator=generator(seed, Stream.ORDER, epoch))]


def evaluation_batch_size(image_size: int) -> int:
    """How many images of `image_size` pixels a side are evaluated at once."""
    return max(1, min(EVALUATION_BATCH, EVALUATION_BATCH * REFERENCE_IMAGE_SIZE**2 // image_size**2))
