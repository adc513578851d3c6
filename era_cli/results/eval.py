"""How well a network predicts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from era_cli.results.arrays import Labels

NEGLIGIBLE = 0.01  # of a calibration error: a confidence is read as whole percent


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
    expected calibration error: the mean gap between the two over all images.
    """

    counts: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    error: float

    @property
    def verdict(self) -> str:
        """In words: well calibrated, or whether accuracy lies above or below confidence, and by how much.

        Well calibrated is an error within NEGLIGIBLE of what a perfectly calibrated network has by chance: the mean
        absolute deviation sqrt(2 p (1 - p) / (pi n)) of a bin's accuracy, for n images of confidence p. Over- or
        underconfident is a network whose mean gap makes up most of the error; otherwise the bins differ in sign.
        """
        filled = self.counts > 0
        confidence, shares = self.confidence[filled], self.counts[filled] / self.counts.sum()
        chance = np.sqrt(2 * confidence * (1 - confidence) / (np.pi * self.counts[filled]))
        gap = float(shares @ (self.accuracy[filled] - confidence))
        if self.error <= float(shares @ chance) + NEGLIGIBLE:
            return "well calibrated: accuracy matches confidence"
        if abs(gap) < self.error / 2:
            return "miscalibrated: accuracy above confidence in some bins, below in others"
        points = f"{100 * abs(gap):.2g}"
        points = f"by {points} point{'s' * (points != '1')}"
        if gap > 0:
            return f"underconfident: accuracy above confidence {points}"
        return f"overconfident: accuracy below confidence {points}"


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
