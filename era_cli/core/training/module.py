"""The LightningModule: one forward pass and one loss, for training and validation alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from era_cli.core.data.normalize import Normalization
from era_cli.core.networks.network import Network
from era_cli.core.seeds import Stream, derived_seed, generator
from era_cli.core.training import optimizers, sizes
from era_cli.core.training.augment import Augmentation
from era_cli.core.training.compilation import Compiled
from era_cli.core.training.devices import LIGHTNING_PRECISION
from era_cli.core.training.group import NOBODY_ELSE, Group
from era_cli.core.training.lightning import L
from era_cli.core.training.schedules import Schedule
from era_cli.recipes import Recipe


class Classifier(L.LightningModule):
    """Trains a network on uint8 batches by a recipe.

    `val_loss_sum` (float64), `val_correct` and `val_count` hold the sums of the last validation.
    """

    val_loss_sum: Tensor
    val_correct: Tensor

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        augmentation: Augmentation,
        normalization: Normalization,
        schedule: Schedule,
        steps_per_epoch: int,
        note: Callable[[str], None],
        group: Group = NOBODY_ELSE,
    ) -> None:
        super().__init__()
        self._group = group
        self.network = network
        self._recipe = recipe
        self._augmentation = augmentation
        self._normalization = normalization
        self._schedule = schedule
        self._steps_per_epoch = steps_per_epoch
        # In a plain object: a module within this one would rename the weights in checkpoints.
        self._forward: Callable[[Tensor], Tensor] = Compiled(network, note) if recipe.compile else network.__call__
        self.val_count = 0

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """The label-smoothed loss of one augmented batch, and how many of its images are classified correctly."""
        images, labels = batch
        step = self.trainer.global_step
        self.network.freeze(step / self._steps_per_epoch)
        if self._recipe.dropout:  # nn.Dropout knows only the global generator
            torch.manual_seed(derived_seed(self._recipe.seed, Stream.DROPOUT, step, self._group.share.rank))
        draws = generator(self._recipe.seed, Stream.AUGMENTATION, step)
        augmented = self._augmentation(images, draws, self._group.share)
        size = sizes.at(self._recipe, images.shape[-1], step, self._recipe.epochs * self._steps_per_epoch)
        augmented = sizes.resized(augmented, size)
        logits = self._forward(self._normalization(augmented)).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self._recipe.label_smoothing)
        return {"loss": loss, "correct": _correct(logits, labels)}

    def on_validation_epoch_start(self) -> None:
        """Resets the sums, and evaluates the same network in every process."""
        self._group.take_buffers_of_first(self.network)
        wide = torch.float32 if self.device.type == "mps" else torch.float64  # which Apple's GPU lacks
        self.val_loss_sum = torch.zeros((), dtype=wide, device=self.device)
        self.val_correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self.val_count = 0

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Adds one batch, not augmented, to the sums; the loss is plain cross-entropy."""
        images, labels = batch
        logits = self.network(self._normalization(images)).float()
        self.val_loss_sum += F.cross_entropy(logits, labels, reduction="sum").to(self.val_loss_sum.dtype)
        self.val_correct += _correct(logits, labels)
        self.val_count += len(labels)

    def on_validation_epoch_end(self) -> None:
        """Adds up the sums of all processes."""
        count = torch.tensor(self.val_count)
        self._group.add_up(self.val_loss_sum, self.val_correct, count)
        self.val_count = int(count)

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer; its rate follows the schedule, step by step."""
        bf16 = self.trainer.precision == LIGHTNING_PRECISION["bf16"]
        optimizer = optimizers.build(self._recipe, self.network, self.device, bf16=bf16)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self._schedule(optimizer), "interval": "step"}}


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == labels).sum()
