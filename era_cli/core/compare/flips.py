"""Images that one side classifies correctly and the other does not. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from era_cli.results import Evaluation, Flips, Labels


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What R runs predict of N images: `votes` (N, K) are how many predict each class, `probabilities` (N, K) means.

    `right` (N,) is the fraction of the runs that are right.
    """

    votes: Labels
    probabilities: npt.NDArray[np.float64]
    right: npt.NDArray[np.float64]


def tally(evaluations: Sequence[Evaluation]) -> Tally:
    """The predictions of one or more runs on the same images."""
    labels = evaluations[0].labels
    rows = np.arange(len(labels))
    votes = np.zeros(evaluations[0].logits.shape, np.int64)
    probabilities = np.zeros(votes.shape)
    for evaluation in evaluations:
        votes[rows, evaluation.predicted] += 1
        probabilities += evaluation.probabilities
    count = len(evaluations)
    return Tally(votes=votes, probabilities=probabilities / count, right=votes[rows, labels] / count)


def lost_and_gained(a: Tally, b: Tally, evaluation: Evaluation, files: tuple[str, ...] | None) -> tuple[Flips, Flips]:
    """The images that most runs of A get right and most runs of B get wrong, and the reverse.

    Most is more than half: half of the runs on either side makes no flip.

    Args:
        evaluation: any of those that were tallied, whose images `files` (N,) names.
    """
    lost = _flips(np.flatnonzero((a.right > 0.5) & (b.right < 0.5)), a, b, evaluation, files, sign=-1)
    gained = _flips(np.flatnonzero((a.right < 0.5) & (b.right > 0.5)), a, b, evaluation, files, sign=1)
    return lost, gained


def _flips(
    places: Labels, a: Tally, b: Tally, evaluation: Evaluation, files: tuple[str, ...] | None, *, sign: int
) -> Flips:
    """The flips at `places`; the largest change of the true class's probability in the direction of `sign` first."""
    true = evaluation.labels[places]
    change = b.probabilities[places, true] - a.probabilities[places, true]
    places = places[np.argsort(-sign * change, kind="stable")]
    true = evaluation.labels[places]
    predicted_a, predicted_b = (_predicted(side, places, true) for side in (a, b))
    return Flips(
        places=places,
        index=evaluation.index[places],
        files=None if files is None else tuple(files[place] for place in places),
        labels=true,
        a_predicted=predicted_a,
        a_probability=a.probabilities[places, predicted_a],
        a_true_probability=a.probabilities[places, true],
        a_right=a.right[places],
        b_predicted=predicted_b,
        b_probability=b.probabilities[places, predicted_b],
        b_true_probability=b.probabilities[places, true],
        b_right=b.right[places],
    )


def _predicted(side: Tally, places: Labels, true: Labels) -> Labels:
    """The true class where most runs are right, else the wrong class that most of them predict.

    Of classes with as many votes it is the most probable one.
    """
    ranks = side.votes[places] + side.probabilities[places] / 2
    ranks[np.arange(len(places)), true] = -1.0
    return np.where(side.right[places] > 0.5, true, ranks.argmax(axis=1))
