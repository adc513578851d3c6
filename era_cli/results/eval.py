"""How well a network predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from era_cli.results.arrays import Labels

Direction = Literal["calibrated", "overconfident", "underconfident", "mixed"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A network's predictions on N images.

    `index` (N,): their numbers in the source; `labels` (N,), `logits` (N, K) float32, `classes` the K names.
    """

    index: Labels
    labels: Labels
    logits: npt.NDArray[np.float32]
    classes: tuple[str, ...]

    @property
    def predicted(self) -> Labels:
        """The most likely class of each image, (N,)."""
        return self.logits.argmax(axis=1)

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Softmax of the logits, (N, K)."""
        return softmax(self.logits)

    @property
    def correct(self) -> int:
        """How many images were classified correctly."""
        return int((self.predicted == self.labels).sum())

    @property
    def accuracy(self) -> float:
        """The fraction classified correctly, 0..1."""
        return self.correct / len(self.labels)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats, without label smoothing."""
        return float(self.losses.mean())

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """The cross-entropy of each image in nats, (N,)."""
        return -_log_softmax(self.logits)[np.arange(len(self.labels)), self.labels]


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The probability of each class, (N, K) -> (N, K)."""
    return np.exp(_log_softmax(logits))


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """Scores of one class in 0..1, None where the denominator is 0; `support` images are of this class."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, kw_only=True)
class ConfusedPair:
    """`count` images of class `true` were predicted as `predicted`.

    `share` is their fraction of that class in Metrics, and of all the mistakes in Mistakes.
    """

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Confidence against accuracy in B bins of equal width over 0..1.

    `counts` (B,) images, `confidence` and `accuracy` (B,) their means, NaN where a bin is empty. `error` is the
    expected calibration error: the mean gap between the two over all images, and `gap` the same with its sign, accuracy
    less confidence. `direction` says whether the network is calibrated but for chance, over- or underconfident, or
    accuracy lies above confidence in some bins and below in others.
    """

    counts: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    error: float
    gap: float
    direction: Direction


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The metrics of an Evaluation.

    `interval` is the 95 % interval of the accuracy, `loss` plain cross-entropy in nats, `top5` None with five
    classes or fewer. `confusion` (K, K) counts images by true class (row) and predicted class (column); `pairs`
    are its nonzero off-diagonal cells, the largest first.
    """

    count: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    loss: float
    top5: float | None
    macro_f1: float
    calibration: Calibration
    per_class: tuple[ClassScore, ...]
    confusion: npt.NDArray[np.int64]
    pairs: tuple[ConfusedPair, ...]
