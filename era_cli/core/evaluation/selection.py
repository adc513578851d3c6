"""Which of the evaluated images to look at. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from era_cli.choices import Order, Which
from era_cli.core.evaluation import mistakes
from era_cli.errors import UsageError
from era_cli.results import Evaluation, Labels
from era_cli.text import plural


def _misclassified(evaluation: Evaluation, draw: np.random.Generator) -> Labels:
    return mistakes.ordered(mistakes.wrong(evaluation), Order.CONFIDENCE).places


def _correct(evaluation: Evaluation, draw: np.random.Generator) -> Labels:
    return draw.permutation(np.flatnonzero(evaluation.predicted == evaluation.labels))


def _all(evaluation: Evaluation, draw: np.random.Generator) -> Labels:
    return draw.permutation(len(evaluation.labels))


def _uncertain(evaluation: Evaluation, draw: np.random.Generator) -> Labels:
    first_two = np.sort(evaluation.probabilities, axis=1)[:, -2:]
    return np.argsort(first_two[:, -1] - first_two[:, 0], kind="stable")


# The most confident of the wrong ones first, any of the right ones, any, or the closest between two classes first.
KINDS: dict[str, Callable[[Evaluation, np.random.Generator], Labels]] = {
    Which.MISCLASSIFIED: _misclassified,
    Which.CORRECT: _correct,
    Which.ALL: _all,
    Which.UNCERTAIN: _uncertain,
}


def choose(evaluation: Evaluation, which: str, count: int, seed: int) -> Labels:
    """Rows of the evaluation, (M,) with M at most `count`: images of the kind `which`."""
    return KINDS[which](evaluation, np.random.default_rng(seed))[:count]


def rows_of(evaluation: Evaluation, numbers: Sequence[int]) -> Labels:
    """The rows (M,) of the images that their source calls by `numbers`.

    Raises:
        UsageError: one of them is not among the evaluated images.
    """
    rows = {int(number): row for row, number in enumerate(evaluation.index)}
    for number in numbers:
        if number not in rows:
            some = ", ".join(str(known) for known in sorted(rows)[:3])
            raise UsageError(
                f"--index {number} is not one of {plural(len(rows), 'evaluated image')}, numbered {some} and so"
                " on: use numbers from misclassified.csv or predictions-SPLIT.npz"
            )
    return np.array([rows[number] for number in numbers], np.int64)
