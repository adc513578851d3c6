"""Misclassified images, and labels that are probably wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from era_cli.choices import Order
from era_cli.results.arrays import Labels
from era_cli.results.eval import ConfusedPair


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """M images on whose class the network and the label differ, of the `evaluated` ones.

    With `suspects` the label is probably wrong, else the network. There are `total` of them, and these are
    those of the class `true` that were predicted as `predicted`, None for any; in `order`, None before sorting.

    `places` (M,) are rows in the evaluation; `index` (M,) and `files` (M, None without file names) their numbers and
    names in the source. `labels` (M,) are the labels and `answers` (M,) the predicted or suggested classes.
    `confidence` (M,) is the probability of the answer, `true_probability` (M,) that of the label, `loss` (M,) the
    cross-entropy in nats, `margin` (M,) the probability of the likeliest other class less that of the label, -1..1.
    `pairs` counts their pairs of classes, the most frequent first. `accuracy` is the network's on all evaluated
    images, `expected` how many suspects it would name of them if every label were right; None without `suspects`.
    """

    suspects: bool
    evaluated: int
    accuracy: float
    total: int
    expected: int | None
    true: str | None
    predicted: str | None
    order: Order | None
    classes: tuple[str, ...]
    places: Labels
    index: Labels
    files: tuple[str, ...] | None
    labels: Labels
    answers: Labels
    confidence: npt.NDArray[np.float64]
    true_probability: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float64]
    margin: npt.NDArray[np.float64]
    pairs: tuple[ConfusedPair, ...]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def filter_text(self) -> str:
        """Which classes they were filtered by; empty for all."""
        label, answer, comma = ("labeled", "suggested", ",") if self.suspects else ("of class", "predicted as", "")
        named = ((label, self.true), (answer, self.predicted))
        return f"{comma} ".join(f"{words} {name}" for words, name in named if name is not None)
