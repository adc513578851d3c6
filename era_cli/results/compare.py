"""Two runs, or two groups of runs, compared on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from era_cli.results.arrays import Labels

Better = Literal["a", "b"]


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One of the runs: `correct` of the images are right, `interval` is the 95 % interval of its accuracy.

    `checkpoint` is `best`, `last` or the mark of another file; `epochs` how long it was trained, None if unknown;
    `finished` whether the run was trained to its end.
    """

    path: Path
    name: str
    seed: int
    checkpoint: str
    epochs: float | None
    finished: bool
    correct: int
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Side:
    """The runs of one side, the mean of their accuracies and its sample standard deviation, None for one run."""

    runs: tuple[ComparedRun, ...]
    mean: float
    deviation: float | None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An accuracy of B less that of A, -1..1, with its 95 % interval and the two-sided p-value of no difference.

    Interval and p-value are None where they are undefined: runs that are all equally accurate show no spread.
    """

    value: float
    interval: tuple[float, float] | None
    p_value: float | None


@dataclass(frozen=True, kw_only=True)
class PairedCounts:
    """Images by who classifies them correctly, of one run against one."""

    both: int
    only_a: int
    only_b: int
    neither: int


@dataclass(frozen=True, kw_only=True)
class ClassComparison:
    """One class: the mean accuracies of both sides on its `support` images, and how many of these flip.

    `p_value` as in Difference; `p_value_holm` is the same after Holm's correction for all classes.
    """

    name: str
    support: int
    a: float
    b: float
    lost: int
    gained: int
    p_value: float | None
    p_value_holm: float | None


@dataclass(frozen=True, kw_only=True)
class Flips:
    """M images that most runs of one side classify correctly and most runs of the other do not.

    The largest change of the true class's probability comes first. `places` (M,) are rows in the evaluation, `index`
    (M,) and `files` (M, None without file names) numbers and names in the source, `labels` (M,) the true classes. Of
    each side: `predicted` (M,) is the true class on the side that is right and the most frequent wrong one on the
    other; `probability` (M,) and `true_probability` (M,) are the mean probabilities of that class and of the true one;
    `right` (M,) is the fraction of runs that are right.
    """

    places: Labels
    index: Labels
    files: tuple[str, ...] | None
    labels: Labels
    a_predicted: Labels
    a_probability: npt.NDArray[np.float64]
    a_true_probability: npt.NDArray[np.float64]
    a_right: npt.NDArray[np.float64]
    b_predicted: Labels
    b_probability: npt.NDArray[np.float64]
    b_true_probability: npt.NDArray[np.float64]
    b_right: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def change(self) -> npt.NDArray[np.float64]:
        """The change of the true class's probability from A to B, (M,)."""
        return self.b_true_probability - self.a_true_probability


@dataclass(frozen=True, kw_only=True)
class SettingChange:
    """A setting that differs, by its path in run.json: its distinct values, JSON values, in A and in B."""

    name: str
    a: tuple[Any, ...]
    b: tuple[Any, ...]

    @property
    def varies(self) -> bool:
        """Whether it differs within a side."""
        return len(self.a) > 1 or len(self.b) > 1


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """B against A on the same `count` images of these `classes`.

    One run against one is `paired`: `difference` has Newcombe's interval and McNemar's exact p-value, and is about two
    trained networks. Otherwise `paired` is None, the difference is one of means with Welch's interval and p-value, and
    is about recipes on these images. `lost` are right in A and wrong in B, `gained` the reverse. `better` is the side
    that may be claimed to be better, None for neither, and `claim` says so in one sentence.
    """

    a: Side
    b: Side
    count: int
    classes: tuple[str, ...]
    difference: Difference
    paired: PairedCounts | None
    per_class: tuple[ClassComparison, ...]
    lost: Flips
    gained: Flips
    settings: tuple[SettingChange, ...]
    better: Better | None
    claim: str
