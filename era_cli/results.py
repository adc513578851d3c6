"""What the core hands to console and reports: frozen values and NumPy arrays. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One row of metrics.csv.

    Losses are nats per image: the training loss is what was minimised (smoothed labels, augmented
    images), the validation loss plain cross-entropy. Accuracies lie in 0..1. `lr` is the rate of the
    epoch's last step. `seconds` is the epoch's wall time with its validation;
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
    """One row of steps.csv: the rate and the loss of optimizer step `step`, counted from 1."""

    step: int
    lr: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A network's answers on one split.

    `labels` (N,), `logits` (N, K) float32, `classes` the K names.
    """

    labels: Labels
    logits: npt.NDArray[np.float32]
    classes: tuple[str, ...]

    @property
    def predicted(self) -> Labels:
        """The most likely class of each image, (N,)."""
        return self.logits.argmax(axis=1)

    @property
    def correct(self) -> int:
        """How many images were classified rightly."""
        return int((self.predicted == self.labels).sum())

    @property
    def accuracy(self) -> float:
        """The share classified rightly, 0..1."""
        return self.correct / len(self.labels)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats, without label smoothing."""
        logits = self.logits.astype(np.float64)
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_norm = np.log(np.exp(shifted).sum(axis=1))
        return float((log_norm - shifted[np.arange(len(self.labels)), self.labels]).mean())


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer of a network: its name, what it puts out for one image, and what that costs."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    kernel: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Some images as the network sees them: (N, H, W, 3) uint8, their labels (N,), and what was done to them."""

    images: Images
    labels: Labels
    classes: tuple[str, ...]
    augmentation: str = ""


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """What `era fit` is about to do, for the header; `rows_done` are the epochs that a resumed run has behind it."""

    run: Path
    source: str
    classes: tuple[str, ...]
    class_counts: Mapping[str, npt.NDArray[np.int64]]
    image_size: int
    layers: tuple[LayerRow, ...]
    leaf_layers: tuple[LayerRow, ...]
    device: str
    precision: str
    steps_per_epoch: int
    steps_done: int
    rows_done: tuple[EpochRow, ...]
    samples: Samples
    notes: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Parameters of the whole network."""
        return sum(layer.parameters for layer in self.leaf_layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one forward pass over one image."""
        return sum(layer.multiply_adds for layer in self.leaf_layers)


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """How a run ended: the best epoch by validation, and the test split judged once with it.

    Without validation (`--val-size 0`) the best epoch is the last and its validation figures are None.
    """

    best_epoch: int
    best_val_acc: float | None
    best_val_loss: float | None
    test_acc: float
    test_loss: float
    test_correct: int
    test_count: int
    seconds: float
