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


def shares(evaluated: Evaluation, row: int) -> list[float]:
    """The probabilities of one image, by hand."""
    odds = [float(np.exp(np.float64(logit))) for logit in evaluated.logits[row]]
    return [value / sum(odds) for value in odds]


def right(evaluated: Evaluation, row: int) -> bool:
    return max(range(4), key=lambda place: evaluated.logits[row, place]) == evaluated.labels[row]


def test_the_most_confident_of_the_misclassified_come_first() -> None:
    evaluated = evaluation()
    wrong = [row for row in range(40) if not right(evaluated, row)]
    wanted = sorted(wrong, key=lambda row: -max(shares(evaluated, row)))
    assert selection.choose(evaluated, "misclassified", 100, seed=0).tolist() == wanted
    assert selection.choose(evaluated, "misclassified", 5, seed=7).tolist() == wanted[:5]


def test_uncertain_images_have_the_closest_probabilities() -> None:
    evaluated = evaluation(seed=1)

    def lead(row: int) -> float:
        *_, second, first = sorted(shares(evaluated, row))
        return first - second

    wanted = sorted(range(40), key=lead)
    assert selection.choose(evaluated, "uncertain", 100, seed=0).tolist() == wanted
    assert selection.choose(evaluated, "uncertain", 6, seed=7).tolist() == wanted[:6]


@pytest.mark.parametrize("which", ["correct", "all"])
def test_random_choices_repeat_no_image(which: str) -> None:
    evaluated = evaluation(seed=2)
    candidates = [row for row in range(40) if which == "all" or right(evaluated, row)]
    everything = selection.choose(evaluated, which, 100, seed=0).tolist()
    assert sorted(everything) == candidates
    assert everything != candidates
    assert selection.choose(evaluated, which, 4, seed=0).tolist() == everything[:4]
    assert selection.choose(evaluated, which, 100, seed=1).tolist() != everything
    firsts = {int(selection.choose(evaluated, which, 1, seed=seed)[0]) for seed in range(1000)}
    assert firsts == set(candidates)


def test_where_there_are_none_none_are_chosen() -> None:
    evaluated = evaluation()
    perfect = Evaluation(
        index=evaluated.index,
        labels=evaluated.logits.argmax(axis=1),
        logits=evaluated.logits,
        classes=evaluated.classes,
    )
    assert selection.choose(perfect, "misclassified", 5, seed=0).shape == (0,)
    hopeless = Evaluation(
        index=evaluated.index,
        labels=evaluated.logits.argmin(axis=1),
        logits=evaluated.logits,
        classes=evaluated.classes,
    )
    assert selection.choose(hopeless, "correct", 5, seed=0).shape == (0,)


def test_numbers_give_rows_in_their_order() -> None:
    evaluated = evaluation()
    wanted = [31, 0, 39, 7]
    assert selection.rows_of(evaluated, evaluated.index[wanted].tolist()).tolist() == wanted


@pytest.mark.parametrize("number", [-1, 1000, 10**30])
def test_an_unknown_number_is_refused(number: int) -> None:
    evaluated = evaluation()
    with pytest.raises(UsageError) as caught:
        selection.rows_of(evaluated, [int(evaluated.index[0]), number])
    said = str(caught.value)
    assert f"--index {number} " in said
    assert ", ".join(map(str, np.sort(evaluated.index)[:3])) in said
    assert "\n" not in said


def test_a_number_between_the_images_is_refused() -> None:
    evaluated = evaluation()
    between = next(number for number in range(1000) if number not in evaluated.index and number > evaluated.index.min())
    with pytest.raises(UsageError, match=f"--index {between} "):
        selection.rows_of(evaluated, [between])
