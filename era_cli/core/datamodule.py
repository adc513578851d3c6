"""Batches cut from arrays in memory, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator

import lightning.pytorch as L
import torch
from torch import Tensor

from era_cli.core.data.dataset import Dataset
from era_cli.core.inference import batch_size as eval_batch_size
from era_cli.core.seeds import Stream, generator
from era_cli.results import Labels

_RESIDENT_SHARE = 0.5  # of a GPU's free memory that images may take; the rest is the network's

Batch = tuple[Tensor, Tensor]


class Batches:
    """Batches of (images (B, 3, H, W) uint8, labels (B,)) at `order`, from batch `skip` on.

    Its length is that of the whole epoch: Lightning counts skipped batches as done.
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
    ) -> None:
        self._images = images
        self._labels = labels
        self._order = order
        self._batch_size = batch_size
        self._skip = skip
        self._drop_last = drop_last

    def __len__(self) -> int:
        full, rest = divmod(len(self._order), self._batch_size)
        return full if self._drop_last or not rest else full + 1

    def __iter__(self) -> Iterator[Batch]:
        for number in range(self._skip, len(self)):
            part = self._order[number * self._batch_size : (number + 1) * self._batch_size]
            yield self._images[part], self._labels[part]


class EraDataModule(L.LightningDataModule):
    """Training and validation batches of a Dataset.

    Args:
        train: indices of the training images, (T,).
        val: indices of the validation images, (V,).
    """

    def __init__(
        self, dataset: Dataset, train: Labels, val: Labels, batch_size: int, steps_per_epoch: int, seed: int
    ) -> None:
        super().__init__()
        self._images = torch.from_numpy(dataset.images)
        self._labels = torch.from_numpy(dataset.labels)
        self._train = torch.from_numpy(train)
        self._val = torch.from_numpy(val)
        self._batch_size = batch_size
        self._steps_per_epoch = steps_per_epoch
        self._seed = seed

    def setup(self, stage: str) -> None:
        """Moves the data to the GPU if there is one and they fit."""
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        if device.type != "cuda":
            return
        free, _ = torch.cuda.mem_get_info(device)
        if self._images.numel() <= _RESIDENT_SHARE * free:
            self._images, self._labels = self._images.to(device), self._labels.to(device)

    def train_dataloader(self) -> Batches:
        """The rest of the epoch that the Trainer stands in: all of it, but for a run resumed within one."""
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.total
        done = progress.processed  # type: ignore[attr-defined] # Lightning types it as its base class
        epoch, skip = divmod(done, self._steps_per_epoch)
        return self._batches(epoch_order(self._train, self._seed, epoch), self._batch_size, skip, drop_last=True)

    def val_dataloader(self) -> Batches:
        """Every validation image once, in order, as it is."""
        size = eval_batch_size(self._images.shape[-1])
        return self._batches(self._val, size, 0, drop_last=False)

    def _batches(self, order: Tensor, size: int, skip: int, *, drop_last: bool) -> Batches:
        order = order.to(self._images.device)
        return Batches(self._images, self._labels, order, size, skip=skip, drop_last=drop_last)


def epoch_order(train: Tensor, seed: int, epoch: int) -> Tensor:
    """The training indices (T,) in the order of epoch `epoch`, counted from 0."""
    return train[torch.randperm(len(train), generator=generator(seed, Stream.ORDER, epoch))]
