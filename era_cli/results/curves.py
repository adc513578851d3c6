"""A run over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from era_cli.text import sample


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One row of metrics.csv.

    Losses are nats per image: the training loss includes label smoothing and is taken on augmented
    images, the validation loss is plain cross-entropy. Accuracies lie in 0..1. `lr` is the learning rate of
    the epoch's last step. `seconds` is the epoch's wall time including validation;
    `images_per_second` counts training alone. The validation cells are None without validation.
    """

    epoch: int
    train_loss: float
    train_acc: float
    val_loss: float | None
    val_acc: float | None
    lr: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One row of steps.csv: learning rate and loss of optimizer step `step`, counted from 1."""

    step: int
    lr: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A run over time: its epochs and the best of them, its learning rate by step, and the lines that were left out.

    `rates` (S,) are the learning rates of the steps numbered `steps` (S,), from 1; an epoch has `steps_per_epoch`. The
    test accuracy is that of `test_count` of the `test_total` test images; the three are None before the test.
    """

    name: str
    status: str
    planned_epochs: int
    epochs: tuple[EpochRow, ...]
    best: EpochRow | None
    steps: npt.NDArray[np.int64]
    rates: npt.NDArray[np.float64]
    steps_per_epoch: int
    test_acc: float | None
    test_count: int | None
    test_total: int | None
    left_out: tuple[str, ...]

    @property
    def val_acc(self) -> float | None:
        """The validation accuracy of the best epoch; None without validation."""
        return None if self.best is None else self.best.val_acc

    @property
    def test_sample(self) -> str:
        """Of how many test images the test accuracy is, where they are a sample, else empty: 1,000 of 10,000."""
        if self.test_count is None or self.test_total is None or self.test_count == self.test_total:
            return ""
        return sample(self.test_count, self.test_total)
