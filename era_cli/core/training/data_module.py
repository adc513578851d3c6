"""Lightning's view of the batches of a run."""

from __future__ import annotations

import torch

from era_cli.core.data.batches import Batches, alternating, epoch_order, evaluation_batch_size
from era_cli.core.data.dataset import Dataset
from era_cli.core.data.share import WHOLE, Share
from era_cli.core.training.lightning import L
from era_cli.results import Labels

_RESIDENT_SHARE = 0.5  # of a GPU's free memory that images may take; the rest is the network's


class EraDataModule(L.LightningDataModule):
    """Training and validation batches of a Dataset.

    Args:
        train: indices of the training images, (T,).
        val: indices of the validation images, (V,).
        alternating_flip: the fraction of the images that is mirrored in the first epoch, to be mirrored every other
            epoch from then on, with the others in between; 0 for none.
        share: what this process takes of each training batch, and of the validation images.
    """

    def __init__(
        self,
        dataset: Dataset,
        train: Labels,
        val: Labels,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        share: Share = WHOLE,
        alternating_flip: float = 0.0,
    ) -> None:
        super().__init__()
        self._share = share
        self._images = torch.from_numpy(dataset.images)
        self._labels = torch.from_numpy(dataset.labels)
        self._train = torch.from_numpy(train)
        self._val = torch.from_numpy(val)[share.slice_of(len(val))]
        self._batch_size = batch_size
        self._steps_per_epoch = steps_per_epoch
        self._seed = seed
        self._alternating_flip = alternating_flip

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
        order = epoch_order(self._train, self._seed, epoch)
        mirrored = None
        if self._alternating_flip:
            mirrored = alternating(len(self._images), self._alternating_flip, self._seed, epoch)
            mirrored = mirrored.to(self._images.device)
        return Batches(
            self._images,
            self._labels,
            order.to(self._images.device),
            self._batch_size,
            skip=skip,
            drop_last=True,
            share=self._share,
            mirrored=mirrored,
        )

    def val_dataloader(self) -> Batches:
        """Every validation image of this process once, in order, as it is."""
        size = evaluation_batch_size(self._images.shape[-1])
        return Batches(self._images, self._labels, self._val.to(self._images.device), size, drop_last=False)
