"""Where network and label differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from era_cli.results.arrays import Labels
from era_cli.results.eval import ConfusedPair

_ORDERS = {
    "confidence": "the most confident first",
    "loss": "the largest loss first",
    "margin": "the widest lead over the label first",
    "index": "by index",
    "random": "in random order",
}


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """Images on whose class the network and the label differ, M of the `judged`, in `order`.

    With `suspects` the label is probably wrong, else the network. `total` of them there are in all, and these are
    those of the class `true` that are taken for `predicted`, None for any.

    `places` (M,) are rows in the evaluation; `index` (M,) and `files` (M, or None but for folders) what their source
    calls them. `labels` (M,) say one class and `answers` (M,) another. `confidence` (M,) is the probability of the
    answer, `true_probability` (M,) that of the label, `loss` (M,) its cross-entropy in nats, `margin` (M,) how far
    the likeliest other class leads over the label, -1..1. `pairs`: of which classes they are, the most frequent first.
    """

    suspects: bool
    judged: int
    total: int
    true: str | None
    predicted: str | None
    order: str
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
    def how(self) -> str:
        """Their order, in words."""
        return _ORDERS.get(self.order, self.order)

    @property
    def which(self) -> str:
        """Which of them these are, in words; empty for all."""
        parts = [] if self.true is None else [f"labelled {self.true}" if self.suspects else f"of {self.true}"]
        if self.predicted is not None:
            parts.append(f"{'rather' if self.suspects else 'taken for'} {self.predicted}")
        return ", ".join(parts) if self.suspects else " ".join(parts)
