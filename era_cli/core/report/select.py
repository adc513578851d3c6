"""Which of thousands of images a page shows. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from era_cli.choices import Order
from era_cli.core.evaluation import mistakes
from era_cli.results import Comparison, Evaluation, Flips, ImageGroup, Labels, Mistakes, Selection

SUSPECTS = 200  # whose margin is largest
UNCERTAIN = 100  # right ones, the closest between two classes
OF_EACH_CLASS = 20  # right ones, so that every cell on the diagonal of the confusion matrix shows some


def select(evaluation: Evaluation, *, trained_on: bool = False, comparison: Comparison | None = None) -> Selection:
    """The images worth showing, those that matter most first: a page has room for the first so many.

    Misclassified ones, suspected label errors, the least certain right ones, and some of every cell of the confusion
    matrix take turns, so that a page with room for few has some of each.

    Args:
        trained_on: the network was trained on these images: it repeats wrong labels, so no suspects are named.
        comparison: of the network, as B, with another: what flips is shown, too.
    """
    right = np.flatnonzero(evaluation.predicted == evaluation.labels)
    lead = _lead(evaluation)
    least_certain = right[np.argsort(lead[right], kind="stable")]
    wrong = mistakes.ordered(mistakes.wrong(evaluation), Order.CONFIDENCE).places
    suspects = mistakes.ordered(mistakes.suspects(evaluation), Order.MARGIN)
    named = 0 if trained_on or mistakes.unreliable(suspects) else min(SUSPECTS, suspects.total)
    cells = _by_turns([_of_class(evaluation, least_certain, each) for each in range(len(evaluation.classes))])
    flips = [] if comparison is None else [comparison.lost, comparison.gained]
    lists = [wrong, suspects.places[:named], least_certain[:UNCERTAIN], _cell_by_cell(evaluation, wrong), cells]
    lists += [each.places for each in flips]
    places = _by_turns(lists)
    position = np.full(len(evaluation.labels), -1, np.int64)
    position[places] = np.arange(len(places))
    return Selection(
        places=places,
        groups=(
            ImageGroup(
                name="misclassified",
                title="Misclassified",
                note="",
                rows=position[wrong],
                total=len(wrong),
            ),
            ImageGroup(
                name="suspects",
                title="Suspected label errors",
                note=_worth(suspects, trained_on),
                rows=position[suspects.places[:named]],
                total=suspects.total,
                captions=tuple(f"suggested: {evaluation.classes[answer]}" for answer in suspects.answers[:named]),
            ),
            ImageGroup(
                name="uncertain",
                title="Least certain correct",
                note="",
                rows=position[least_certain[:UNCERTAIN]],
                total=len(right),
            ),
            *(_flipped(comparison, each, position) for each in flips if comparison is not None),
        ),
    )


def _flipped(comparison: Comparison, flips: Flips, position: Labels) -> ImageGroup:
    """What flips, with what the other network says of it."""
    lost, other = flips is comparison.lost, comparison.a.runs[0].name
    said = zip(flips.a_predicted, flips.a_probability, strict=True)
    return ImageGroup(
        name="lost" if lost else "gained",
        title=f"Right in {other}, wrong here" if lost else f"Wrong in {other}, right here",
        note=f"A is {other}.",
        rows=position[flips.places],
        total=len(flips),
        captions=tuple(f"A: {comparison.classes[answer]} {probability:.1%}" for answer, probability in said),
    )


def _lead(evaluation: Evaluation) -> npt.NDArray[np.float64]:
    """How far the most likely class is ahead of the next in probability, (N,)."""
    first_two = np.sort(evaluation.probabilities, axis=1)[:, -2:]
    return first_two[:, -1] - first_two[:, 0]


def _of_class(evaluation: Evaluation, rows: Labels, label: int) -> Labels:
    """The first OF_EACH_CLASS of the rows that have this label."""
    return rows[evaluation.labels[rows] == label][:OF_EACH_CLASS]


def _cell_by_cell(evaluation: Evaluation, rows: Labels) -> Labels:
    """The rows sorted by how many of their cell of the confusion matrix come before them."""
    cells = evaluation.labels[rows] * len(evaluation.classes) + evaluation.predicted[rows]
    order = np.argsort(cells, kind="stable")
    _, starts, counts = np.unique(cells[order], return_index=True, return_counts=True)
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows)) - np.repeat(starts, counts)
    return rows[np.argsort(rank, kind="stable")]


def _by_turns(lists: Sequence[Labels]) -> Labels:
    """The first of each list, then the second of each, and so on; each row once."""
    rows = np.concatenate([*lists, np.empty(0, np.int64)])
    rank = np.concatenate([*(np.arange(len(each)) for each in lists), np.empty(0, np.int64)])
    merged = rows[np.argsort(rank, kind="stable")]
    _, first = np.unique(merged, return_index=True)
    return merged[np.sort(first)]


def _worth(suspects: Mistakes, trained_on: bool) -> str:
    """What the list of suspects is worth."""
    if trained_on:
        return "Not listed: the network was trained on these labels and repeats the wrong ones, too."
    if mistakes.unreliable(suspects):
        return (
            f"Not listed: at {suspects.accuracy:.2%} accuracy the network would suspect about {suspects.expected:,} of"
            f" {suspects.evaluated:,} labels even if all were right."
        )
    return f"If every label were right, about {suspects.expected:,} would still be suspected."
