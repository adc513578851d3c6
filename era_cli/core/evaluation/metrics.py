"""Metrics from logits and labels. NumPy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from era_cli.intervals import wilson_interval
from era_cli.results import Calibration, ClassScore, ConfusedPair, Direction, Evaluation, Metrics

TOP = 5
BINS = 15  # of Guo et al. 2017
NEGLIGIBLE = 0.01  # of a calibration error: a confidence is read as whole percent


def measure(evaluation: Evaluation) -> Metrics:
    """Every metric that `era eval` reports, of at least one image."""
    confusion = confusion_counts(evaluation)
    per_class = tuple(class_scores(confusion, evaluation.classes))
    return Metrics(
        count=len(evaluation.labels),
        correct=evaluation.correct,
        accuracy=evaluation.accuracy,
        interval=wilson_interval(evaluation.correct, len(evaluation.labels)),
        loss=evaluation.loss,
        top5=top_accuracy(evaluation, TOP) if len(evaluation.classes) > TOP else None,
        macro_f1=float(np.mean([score.f1 for score in per_class if score.f1 is not None])),
        calibration=calibration(evaluation),
        per_class=per_class,
        confusion=confusion,
        pairs=tuple(confused_pairs(confusion, evaluation.classes)),
    )


def confusion_counts(evaluation: Evaluation) -> npt.NDArray[np.int64]:
    """Images by true class (row) and predicted class (column), (K, K)."""
    classes = len(evaluation.classes)
    cells = np.bincount(evaluation.labels * classes + evaluation.predicted, minlength=classes**2)
    return cells.reshape(classes, classes)


def class_scores(confusion: npt.NDArray[np.int64], classes: tuple[str, ...]) -> list[ClassScore]:
    """Precision, recall, F1 and support of each class, in the order of the classes.

    A class that is neither true nor predicted of any image has none of them and is left out of the
    macro mean, as in scikit-learn.
    """
    hits, support, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        ClassScore(
            name=name,
            precision=_ratio(hits[place], predicted[place]),
            recall=_ratio(hits[place], support[place]),
            f1=_ratio(2 * hits[place], support[place] + predicted[place]),
            support=int(support[place]),
        )
        for place, name in enumerate(classes)
    ]


def confused_pairs(confusion: npt.NDArray[np.int64], classes: tuple[str, ...]) -> list[ConfusedPair]:
    """Every pair of a true and a wrongly predicted class that occurs, the most frequent first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[: np.count_nonzero(wrong)]
    support = confusion.sum(axis=1)
    return [
        ConfusedPair(
            true=classes[true],
            predicted=classes[predicted],
            count=int(wrong[true, predicted]),
            share=float(wrong[true, predicted] / support[true]),
        )
        for true, predicted in zip(*np.unravel_index(order, wrong.shape), strict=True)
    ]


def top_accuracy(evaluation: Evaluation, top: int) -> float:
    """The share of images whose true class is among the `top` most likely ones."""
    truth = np.take_along_axis(evaluation.logits, evaluation.labels[:, None], axis=1)
    return float(((evaluation.logits > truth).sum(axis=1) < top).mean())


def calibration(evaluation: Evaluation, bins: int = BINS) -> Calibration:
    """Confidence against accuracy, and the expected calibration error (Guo et al. 2017, arXiv:1706.04599, eq. 3)."""
    confidence = evaluation.probabilities.max(axis=1)
    right = evaluation.predicted == evaluation.labels
    # A bin holds its upper edge, as in that paper.
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(place, confidence, bins) / counts
        accuracy = np.bincount(place, right, bins) / counts
    filled = counts > 0
    shares, gaps = counts[filled] / counts.sum(), (accuracy - mean_confidence)[filled]
    error, gap = float(shares @ np.abs(gaps)), float(shares @ gaps)
    return Calibration(
        counts=counts,
        confidence=mean_confidence,
        accuracy=accuracy,
        error=error,
        gap=gap,
        direction=direction(error, gap, counts[filled], mean_confidence[filled]),
    )


def direction(
    error: float, gap: float, counts: npt.NDArray[np.int64], confidence: npt.NDArray[np.float64]
) -> Direction:
    """On which side of confidence accuracy lies, from the calibration error and the mean gap of filled bins.

    Calibrated is an error within NEGLIGIBLE of what a perfectly calibrated network has by chance: the mean absolute
    deviation sqrt(2 p (1 - p) / (pi n)) of a bin's accuracy, for its n = `counts` images of `confidence` p. Over- or
    underconfident is a network whose mean gap makes up most of the error; otherwise the bins differ in sign.
    """
    chance = np.sqrt(2 * confidence * (1 - confidence) / (np.pi * counts))
    if error <= float(counts @ chance / counts.sum()) + NEGLIGIBLE:
        return "calibrated"
    if abs(gap) < error / 2:
        return "mixed"
    return "underconfident" if gap > 0 else "overconfident"


def _ratio(count: np.int64, total: np.int64) -> float | None:
    return float(count / total) if total else None
