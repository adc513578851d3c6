"""What `era fit` is about to do, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from era_cli.recipes import Recipe
from era_cli.results.arrays import Images, Labels
from era_cli.results.curves import EpochRow
from era_cli.results.lr_find import LrSweep
from era_cli.results.units import Count, Fraction, Loss, Positive, Seconds
from era_cli.text import sample


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer of a network: its name, its output for one image, and what that costs."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    kernel: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Training images as the network sees them, (N, H, W, 3) uint8, their labels (N,) and how they were augmented."""

    images: Images
    labels: Labels
    classes: tuple[str, ...]
    augmentation: str = ""


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """What `era fit` is about to do.

    `test_total` are the images of the whole test split, of which `class_counts` may count a sample. `rows_done` are
    the epochs of a resumed run that are done, `sweep` found the peak rate, if one was made. `warnings` are what makes
    its result doubtful, `notes` what else a person should know first. Each of `processes` on `nodes` machines has a
    `device` of its own, or `threads` threads of a CPU.
    """

    run: Path
    recipe: Recipe
    source: str
    classes: tuple[str, ...]
    class_counts: Mapping[str, npt.NDArray[np.int64]]
    test_total: int
    image_size: int
    layers: tuple[LayerRow, ...]
    leaf_layers: tuple[LayerRow, ...]
    device: str
    precision: str
    steps_per_epoch: int
    steps_done: int
    rows_done: tuple[EpochRow, ...]
    samples: Samples
    sweep: LrSweep | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    processes: int = 1
    nodes: int = 1
    threads: int = 1

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
    """How a run ended: the best epoch by validation, and the test split evaluated once with it.

    Without validation (`--val-size 0`) the best epoch is the last and its validation metrics are None. `test_count` of
    the `test_total` images of the test split were evaluated.
    """

    best_epoch: Positive
    val_acc: Fraction | None
    val_loss: Loss | None
    test_acc: Fraction
    test_loss: Loss
    test_correct: Count
    test_count: Positive
    test_total: Positive
    seconds: Seconds

    @property
    def test_sample(self) -> str:
        """How many test images were evaluated if not all, else empty: 1,000 of 10,000."""
        return sample(self.test_count, self.test_total) if self.test_count < self.test_total else ""


@dataclass(frozen=True, kw_only=True)
class SeedResults:
    """The same recipe trained with K seeds: each run's folder, its seed, and how it ended."""

    runs: tuple[Path, ...]
    seeds: tuple[int, ...]
    results: tuple[FitResult, ...]

    @property
    def test_accs(self) -> npt.NDArray[np.float64]:
        """The test accuracy of each run, (K,), 0..1."""
        return np.array([result.test_acc for result in self.results])

    @property
    def mean(self) -> float:
        """The mean test accuracy, 0..1."""
        return float(self.test_accs.mean())

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation of the test accuracy (over K - 1), None for fewer than two runs."""
        return float(self.test_accs.std(ddof=1)) if len(self.results) > 1 else None
