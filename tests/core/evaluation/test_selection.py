from __future__ import annotations

import numpy as np
import pytest

from era_cli.core.evaluation import selection
from era_cli.errors import UsageError
from era_cli.results import Evaluation


def evaluation(count: int = 40, seed: int = 0) -> Evaluation:
    draw = np.random.default_rng(seed)
    return Evaluation(
        index=draw.permutation(1000)[:count],
        labels=draw.integers(0, 4, count),
        logits=draw.normal(0, 2, (count, 4)).astype(np.float32),
        classes=tuple("abcd"),
    )


def shares(judged: Evaluation, row: int) -> list[float]:
    """The probabilities of one image, by hand."""
    odds = [float(np.exp(np.float64(logit))) for logit in judged.logits[row]]
    return [value / sum(odds) for value in odds]


def right(judged: Evaluation, row: int) -> bool:
    return max(range(4), key=lambda place: judged.logits[row, place]) == judged.labels[row]


def test_the_most_confident_of_the_misclassified_come_first() -> None:
    judged = evaluation()
    wrong = [row for row in range(40) if not right(judged, row)]
    wanted = sorted(wrong, key=lambda row: -max(shares(judged, row)))
    assert selection.choose(judged, "misclassified", 100, seed=0).tolist() == wanted
    assert selection.choose(judged, "misclassified", 5, seed=7).tolist() == wanted[:5]


def test_where_the_two_likeliest_are_closest_is_the_most_uncertain() -> None:
    judged = evaluation(seed=1)

    def lead(row: int) -> float:
        *_, second, first = sorted(shares(judged, row))
        return first - second

    wanted = sorted(range(40), key=lead)
    assert selection.choose(judged, "uncertain", 100, seed=0).tolist() == wanted
    assert selection.choose(judged, "uncertain", 6, seed=7).tolist() == wanted[:6]


@pytest.mark.parametrize("which", ["correct", "all"])
def test_correct_ones_and_any_are_drawn_at_random_and_none_twice(which: str) -> None:
    judged = evaluation(seed=2)
    candidates = [row for row in range(40) if which == "all" or right(judged, row)]
    everything = selection.choose(judged, which, 100, seed=0).tolist()
    assert sorted(everything) == candidates
    assert everything != candidates
    assert selection.choose(judged, which, 4, seed=0).tolist() == everything[:4]
    assert selection.choose(judged, which, 100, seed=1).tolist() != everything
    firsts = {int(selection.choose(judged, which, 1, seed=seed)[0]) for seed in range(1000)}
    assert firsts == set(candidates)


def test_where_there_are_none_none_are_chosen() -> None:
    judged = evaluation()
    perfect = Evaluation(
        index=judged.index, labels=judged.logits.argmax(axis=1), logits=judged.logits, classes=judged.classes
    )
    assert selection.choose(perfect, "misclassified", 5, seed=0).shape == (0,)
    hopeless = Evaluation(
        index=judged.index, labels=judged.logits.argmin(axis=1), logits=judged.logits, classes=judged.classes
    )
    assert selection.choose(hopeless, "correct", 5, seed=0).shape == (0,)


def test_numbers_find_their_rows_in_the_order_that_they_came_in() -> None:
    judged = evaluation()
    wanted = [31, 0, 39, 7]
    assert selection.rows_of(judged, judged.index[wanted].tolist()).tolist() == wanted


@pytest.mark.parametrize("number", [-1, 1000, 10**30])
def test_a_number_that_no_image_has_is_refused_in_a_sentence(number: int) -> None:
    judged = evaluation()
    with pytest.raises(UsageError) as caught:
        selection.rows_of(judged, [int(judged.index[0]), number])
    said = str(caught.value)
    assert f"--index {number} " in said
    assert ", ".join(map(str, np.sort(judged.index)[:3])) in said
    assert "\n" not in said


def test_a_number_between_those_of_the_images_is_refused_too() -> None:
    judged = evaluation()
    between = next(number for number in range(1000) if number not in judged.index and number > judged.index.min())
    with pytest.raises(UsageError, match=f"--index {between} "):
        selection.rows_of(judged, [between])
