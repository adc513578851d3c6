"""Misclassified images, and images whose label is probably wrong. Loads no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from era_cli.choices import Order
from era_cli.errors import EraError
from era_cli.results import ConfusedPair, Evaluation, Labels, Mistakes, softmax

# Sorted by these keys, ascending.
_KEYS: dict[str, Callable[[Mistakes, np.random.Generator], npt.NDArray[np.float64] | Labels]] = {
    Order.CONFIDENCE: lambda mistakes, draw: -mistakes.confidence,
    Order.LOSS: lambda mistakes, draw: -mistakes.loss,
    Order.MARGIN: lambda mistakes, draw: -mistakes.margin,
    Order.INDEX: lambda mistakes, draw: mistakes.index,
    Order.RANDOM: lambda mistakes, draw: draw.permutation(len(mistakes)),
}

_ROUNDING = 1e-9  # of a probability
# The fraction of all images that a network may name although their labels are right. Test sets have wrong labels for
# 3.3 % of their images on average (Northcutt, Athalye and Mueller 2021, arXiv:2103.14749): with nine times as many
# false suspects, fewer than one suspect in ten has a wrong label even if the list misses none of those.
MOST_EXPECTED = 0.3
_HALVINGS = 30  # of the temperature's logarithm, base 2, which begins between -10 and 10


def wrong(evaluation: Evaluation, files: tuple[str, ...] | None = None) -> Mistakes:
    """The misclassified images, in the order of the evaluation, whose images `files` (N,) names."""
    return _differing(evaluation, evaluation.predicted, files, suspects=False)


def suspects(evaluation: Evaluation, files: tuple[str, ...] | None = None) -> Mistakes:
    """The images whose label is probably wrong, in the order of the evaluation; the answer is the suggested class.

    Confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
    Labels", arXiv:1911.00068, section 3.1): the threshold of a class is the mean probability that the images
    labelled with it get for it; an image belongs confidently to the likeliest of the classes whose threshold it
    reaches, and is a suspect where that is not its label: an off-diagonal entry of the confident joint. In order of
    `margin` they are ranked by normalised margin, in order of `loss` by self-confidence (both section 3.2). The
    probabilities must be out of sample.

    `expected` is what such a list would hold if every label were right, which tells what it is worth. An image's
    right label is then a draw from calibrated probabilities: the network's, at the temperature at which their mean
    confidence is its accuracy. An image that confidently belongs to a class is named if the draw is another one, and
    the sum of these probabilities is the expectation. Labels that are wrong lower the accuracy, which raises it.
    """
    probabilities = evaluation.probabilities
    own = probabilities[np.arange(len(evaluation.labels)), evaluation.labels]
    classes = len(evaluation.classes)
    counts = np.bincount(evaluation.labels, minlength=classes)
    totals = np.bincount(evaluation.labels, weights=own, minlength=classes)
    thresholds = np.divide(totals, counts, out=np.full(classes, np.inf), where=counts > 0)
    # Equal probabilities must reach their own mean, which rounding may put above them.
    reached = np.where(probabilities >= thresholds - _ROUNDING, probabilities, -1.0)
    highest = reached.max(axis=1)
    elsewhere = (highest >= 0) & (highest > reached[np.arange(len(own)), evaluation.labels])
    likeliest = reached.argmax(axis=1)
    named = _differing(evaluation, np.where(elsewhere, likeliest, evaluation.labels), files, suspects=True)
    right = _calibrated(evaluation)[np.arange(len(own)), likeliest]
    return dataclasses.replace(named, expected=round(float((1 - right)[highest >= 0].sum())))


def _calibrated(evaluation: Evaluation) -> npt.NDArray[np.float64]:
    """The probabilities (N, K) at the temperature at which their mean confidence is the accuracy, by bisection."""
    low, high = -10.0, 10.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        confidence = softmax(evaluation.logits / np.float32(2**middle)).max(axis=1).mean()
        low, high = (middle, high) if confidence > evaluation.accuracy else (low, middle)
    return softmax(evaluation.logits / np.float32(2**low))


def check_worth(suspects: Mistakes) -> None:
    """Refuses a list of suspects that mostly names the network's own mistakes.

    Raises:
        EraError: it would name more than MOST_EXPECTED of the images if every label were right.
    """
    if unreliable(suspects):
        raise EraError(
            f"at {suspects.accuracy:.2%} accuracy the network would suspect about {suspects.expected:,} of"
            f" {suspects.evaluated:,} labels even if all were right (it suspects {suspects.total:,}): use a more"
            " accurate run (--run), or list them anyway with --force"
        )


def unreliable(suspects: Mistakes) -> bool:
    """Whether more than MOST_EXPECTED of the images would be named if every label were right."""
    return suspects.expected is not None and suspects.expected > MOST_EXPECTED * suspects.evaluated


def of_classes(mistakes: Mistakes, true: str | None, predicted: str | None) -> Mistakes:
    """Those labelled `true` and predicted as `predicted`, names of classes, where these are not None."""
    kept = np.ones(len(mistakes), bool)
    if true is not None:
        kept &= mistakes.labels == mistakes.classes.index(true)
    if predicted is not None:
        kept &= mistakes.answers == mistakes.classes.index(predicted)
    return dataclasses.replace(_rows(mistakes, np.flatnonzero(kept)), true=true, predicted=predicted)


def ordered(mistakes: Mistakes, order: str, seed: int = 0) -> Mistakes:
    """Sorts them: the most confident, the largest loss, the largest margin or the lowest index first.

    `seed` is that of the random order; ties stay as they were.
    """
    rows = np.argsort(_KEYS[order](mistakes, np.random.default_rng(seed)), kind="stable")
    return dataclasses.replace(_rows(mistakes, rows), order=Order(order))


def _differing(evaluation: Evaluation, other: Labels, files: tuple[str, ...] | None, *, suspects: bool) -> Mistakes:
    """The images whose label is not their class in `other` (N,)."""
    places = np.flatnonzero(other != evaluation.labels)
    rows, labels, answers = np.arange(len(places)), evaluation.labels[places], other[places]
    probabilities = evaluation.probabilities[places]
    own = probabilities[rows, labels]
    rest = probabilities.copy()
    rest[rows, labels] = 0.0
    return Mistakes(
        suspects=suspects,
        evaluated=len(evaluation.labels),
        accuracy=evaluation.accuracy,
        total=len(places),
        expected=None,
        true=None,
        predicted=None,
        order=None,
        classes=evaluation.classes,
        places=places,
        index=evaluation.index[places],
        files=None if files is None else tuple(files[place] for place in places),
        labels=labels,
        answers=answers,
        confidence=probabilities[rows, answers],
        true_probability=own,
        loss=evaluation.losses[places],
        margin=rest.max(axis=1) - own,
        pairs=_pairs(labels, answers, evaluation.classes),
    )


def _rows(mistakes: Mistakes, rows: Labels) -> Mistakes:
    """The mistakes at `rows`, in their order."""
    arrays = ("places", "index", "labels", "answers", "confidence", "true_probability", "loss", "margin")
    return dataclasses.replace(
        mistakes,
        **{name: getattr(mistakes, name)[rows] for name in arrays},
        files=None if mistakes.files is None else tuple(mistakes.files[row] for row in rows),
        pairs=_pairs(mistakes.labels[rows], mistakes.answers[rows], mistakes.classes),
    )


def _pairs(labels: Labels, answers: Labels, classes: tuple[str, ...]) -> tuple[ConfusedPair, ...]:
    cells, counts = np.unique(labels * len(classes) + answers, return_counts=True)
    return tuple(
        ConfusedPair(
            true=classes[cells[place] // len(classes)],
            predicted=classes[cells[place] % len(classes)],
            count=int(counts[place]),
            share=float(counts[place] / len(labels)),
        )
        for place in np.argsort(-counts, kind="stable")
    )
