from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from era_cli.choices import Order
from era_cli.core.evaluation import mistakes
from era_cli.errors import EraError
from era_cli.results import Evaluation, Mistakes


def evaluation(labels: npt.ArrayLike, logits: npt.ArrayLike) -> Evaluation:
    """Answers on images whose numbers are not their places."""
    table = np.asarray(logits, np.float32)
    classes = tuple(f"class {place}" for place in range(table.shape[1]))
    index = np.arange(len(table))[::-1] * 7 + 3
    return Evaluation(index=index, labels=np.asarray(labels, np.int64), logits=table, classes=classes)


def drawn(count: int, classes: int, seed: int, skill: float = 1.5) -> Evaluation:
    """Random answers that are right more often than chance."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, count)
    return evaluation(labels, draw.normal(size=(count, classes)) + skill * np.eye(classes)[labels])


def exactly(labels: list[int], probabilities: list[list[float]]) -> Evaluation:
    """Answers with these probabilities."""
    return evaluation(labels, np.log(probabilities))


def planted(classes: int, each: int, wrong: dict[int, int]) -> Evaluation:
    """A network that is sure of every image's class, and labels of which those at the places `wrong` are not it."""
    true = np.repeat(np.arange(classes), each)
    logits = 6 * np.eye(classes)[true] + np.random.default_rng(0).normal(size=(len(true), classes))
    labels = true.copy()
    for place, label in wrong.items():
        assert true[place] != label
        labels[place] = label
    return evaluation(labels, logits)


# K classes, labels that need not name all of them, and the seed of the logits.
cases = st.integers(2, 6).flatmap(
    lambda classes: st.tuples(
        st.just(classes), st.lists(st.integers(0, classes - 1), min_size=1, max_size=30), st.integers(0, 2**32 - 1)
    )
)


def random_evaluation(case: tuple[int, list[int], int], *, coarse: bool = False) -> Evaluation:
    """The answers of a case; coarse ones tie."""
    classes, labels, seed = case
    logits = np.random.default_rng(seed).normal(scale=2, size=(len(labels), classes))
    return evaluation(labels, np.round(logits) if coarse else logits)


def check_rows(listed: Mistakes, evaluated: Evaluation) -> None:
    """Everything that is said of each image is said of that image."""
    assert len(listed.places) == len(listed) == len(listed.labels) == len(listed.answers)
    probabilities = softmax(evaluated.logits.astype(np.float64), axis=1)
    logs = log_softmax(evaluated.logits.astype(np.float64), axis=1)
    for row, place in enumerate(listed.places):
        label, answer = int(evaluated.labels[place]), int(listed.answers[row])
        assert (listed.index[row], listed.labels[row]) == (evaluated.index[place], label)
        assert listed.confidence[row] == pytest.approx(probabilities[place, answer], rel=1e-12)
        assert listed.true_probability[row] == pytest.approx(probabilities[place, label], rel=1e-12)
        assert listed.loss[row] == pytest.approx(-logs[place, label], rel=1e-12, abs=1e-12)
        others = [probabilities[place, other] for other in range(len(evaluated.classes)) if other != label]
        assert listed.margin[row] == pytest.approx(max(others) - probabilities[place, label], abs=1e-12)


def check_pairs(listed: Mistakes) -> None:
    """The pairs are a count of the rows, the most frequent first."""
    counted: dict[tuple[str, str], int] = {}
    for label, answer in zip(listed.labels, listed.answers, strict=True):
        names = (listed.classes[label], listed.classes[answer])
        counted[names] = counted.get(names, 0) + 1
    assert {(pair.true, pair.predicted): pair.count for pair in listed.pairs} == counted
    assert len(listed.pairs) == len(counted)
    assert [pair.count for pair in listed.pairs] == sorted(counted.values(), reverse=True)
    for pair in listed.pairs:
        assert pair.share == pair.count / len(listed)
    if listed.pairs:
        assert math.fsum(pair.share for pair in listed.pairs) == pytest.approx(1)


# The network's mistakes


@settings(max_examples=60)
@given(case=cases, coarse=st.booleans())
def test_wrong_images_are_those_not_predicted_as_labelled(case: tuple[int, list[int], int], coarse: bool) -> None:
    evaluated = random_evaluation(case, coarse=coarse)
    wanted = []
    for place, label in enumerate(evaluated.labels):
        scores = evaluated.logits[place].tolist()
        answer = scores.index(max(scores))
        if answer != label:
            wanted.append((place, answer))
    listed = mistakes.wrong(evaluated)
    assert list(zip(listed.places.tolist(), listed.answers.tolist(), strict=True)) == wanted
    assert (listed.evaluated, listed.total, listed.suspects) == (len(evaluated.labels), len(wanted), False)
    assert (listed.true, listed.predicted, listed.files) == (None, None, None)
    check_rows(listed, evaluated)
    check_pairs(listed)


def test_a_perfect_network_makes_no_mistakes() -> None:
    evaluated = planted(3, 4, {})
    for listed in (mistakes.wrong(evaluated), mistakes.suspects(evaluated)):
        assert (len(listed), listed.total, listed.evaluated, listed.pairs) == (0, 0, 12, ())
        for order in Order:
            assert len(mistakes.ordered(listed, order)) == 0
        assert len(mistakes.of_classes(listed, "class 0", "class 2")) == 0


def test_the_loss_of_a_hopeless_label_is_finite() -> None:
    listed = mistakes.wrong(evaluation([1, 1, 1], [[900, 0], [2000, 0], [1000, 0]]))
    assert listed.true_probability.tolist() == [0, 0, 0]
    assert listed.loss.tolist() == [900, 2000, 1000]
    assert mistakes.ordered(listed, "loss").places.tolist() == [1, 2, 0]


# Labels that look wrong


def confident_joint(evaluated: Evaluation) -> dict[int, int]:
    """Section 3.1 to the letter: the places in the off-diagonal sets, and the class j of the set that each lies in."""
    probabilities = softmax(evaluated.logits.astype(np.float64), axis=1)
    labels = evaluated.labels.tolist()
    classes = range(len(evaluated.classes))
    thresholds: dict[int, Fraction] = {}  # exact: t_j is the mean self-confidence of the examples labelled j
    for j in classes:
        own = [Fraction(float(probabilities[place, j])) for place, label in enumerate(labels) if label == j]
        if own:
            thresholds[j] = sum(own, Fraction(0)) / len(own)
    off_diagonal = {}
    for place, label in enumerate(labels):
        p = [float(value) for value in probabilities[place]]
        reached = [j for j in thresholds if Fraction(p[j]) >= thresholds[j]]
        if reached and (j := max(reached, key=lambda j: p[j])) != label:
            off_diagonal[place] = j
    return off_diagonal


@settings(max_examples=80)
@given(cases)
def test_suspects_are_the_confident_joints_off_diagonal(case: tuple[int, list[int], int]) -> None:
    evaluated = random_evaluation(case)
    wanted = confident_joint(evaluated)
    listed = mistakes.suspects(evaluated)
    assert dict(zip(listed.places.tolist(), listed.answers.tolist(), strict=True)) == wanted
    assert listed.places.tolist() == sorted(wanted)
    assert (listed.evaluated, listed.total, listed.suspects) == (len(evaluated.labels), len(wanted), True)
    check_rows(listed, evaluated)
    check_pairs(listed)


def test_suspects_equal_those_of_the_paper() -> None:
    evaluated = drawn(600, 10, seed=2)
    listed = mistakes.suspects(evaluated)
    assert dict(zip(listed.places.tolist(), listed.answers.tolist(), strict=True)) == confident_joint(evaluated)
    assert 0 < len(listed) < len(mistakes.wrong(evaluated))


def test_below_every_threshold_nothing_is_suspect() -> None:
    evaluated = exactly([0, 0, 1, 1, 0], [[0.95, 0.05], [0.9, 0.1], [0.1, 0.9], [0.05, 0.95], [0.45, 0.55]])
    # thresholds: (0.95 + 0.9 + 0.45) / 3 = 0.77 and (0.9 + 0.95) / 2 = 0.925
    assert mistakes.wrong(evaluated).places.tolist() == [4]
    assert mistakes.suspects(evaluated).places.tolist() == []


def test_over_a_low_threshold_even_correct_is_suspect() -> None:
    evaluated = exactly([0, 0, 1, 1], [[0.99, 0.01], [0.6, 0.4], [0.7, 0.3], [0.72, 0.28]])
    # thresholds: (0.99 + 0.6) / 2 = 0.795 and (0.3 + 0.28) / 2 = 0.29; the second image reaches the other's alone
    listed = mistakes.suspects(evaluated)
    assert (listed.places.tolist(), listed.answers.tolist()) == ([1], [1])
    assert listed.confidence == pytest.approx(0.4)
    assert mistakes.wrong(evaluated).places.tolist() == [2, 3]


def test_of_several_reached_thresholds_the_likeliest_counts() -> None:
    evaluated = exactly([0, 1, 2, 0], [[0.3, 0.3, 0.4], [0.5, 0.3, 0.2], [0.7, 0.1, 0.2], [0.12, 0.38, 0.5]])
    # thresholds: 0.21, 0.3 and 0.2, so that the last image reaches the second and the third
    listed = mistakes.suspects(evaluated)
    assert dict(zip(listed.places.tolist(), listed.answers.tolist(), strict=True))[3] == 2


def test_a_class_without_labels_is_never_suggested() -> None:
    evaluated = exactly([0, 1, 1], [[0.1, 0.1, 0.8], [0.2, 0.5, 0.3], [0.0001, 0.0001, 0.9998]])
    listed = mistakes.suspects(evaluated)
    assert 2 not in listed.answers
    assert mistakes.wrong(evaluated).answers.tolist() == [2, 2]


@pytest.mark.parametrize("count", [3, 5, 6, 7, 10, 11, 13, 300])
def test_equal_probabilities_reach_their_own_mean(count: int) -> None:
    # Each image has the mean of its class, whatever the rounding of a sum of `count` of them does.
    for seed in range(20):
        logits = np.random.default_rng(seed).normal(size=3).astype(np.float32)
        labels = np.arange(count) % 3
        evaluated = evaluation(labels, np.tile(logits, (count, 1)))
        listed = mistakes.suspects(evaluated)
        likeliest = int(logits.argmax())
        assert listed.places.tolist() == np.flatnonzero(labels != likeliest).tolist()
        assert set(listed.answers.tolist()) == {likeliest}


def test_planted_wrong_labels_are_found_and_come_first() -> None:
    wrong = {5: 3, 27: 0, 44: 2, 81: 0}
    evaluated = planted(4, 25, wrong)
    true = np.repeat(np.arange(4), 25)
    listed = mistakes.suspects(evaluated)
    assert set(wrong) <= set(listed.places.tolist())
    for order in ("margin", "loss"):
        first = mistakes.ordered(listed, order)
        assert set(first.places[:4].tolist()) == set(wrong)
        assert first.answers[:4].tolist() == true[first.places[:4]].tolist()


@pytest.mark.parametrize("skill", [0.0, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("sharpness", [0.3, 1.0, 3.0])  # of over- and underconfident networks
def test_of_right_labels_as_many_as_expected_are_suspects(skill: float, sharpness: float) -> None:
    right = drawn(20_000, 10, 0, skill)
    told = mistakes.suspects(evaluation(right.labels, sharpness * right.logits))
    assert told.expected is not None
    assert told.accuracy == right.accuracy
    assert told.total == pytest.approx(told.expected, rel=0.25, abs=60)


def test_wrong_labels_exceed_what_is_expected() -> None:
    answers = drawn(20_000, 10, 0, 6.0)
    draw = np.random.default_rng(1)
    labels = np.where(draw.random(20_000) < 0.03, draw.integers(0, 10, 20_000), answers.labels)
    told = mistakes.suspects(evaluation(labels, answers.logits))
    assert told.expected is not None
    assert told.total > 1.5 * told.expected


def test_suspects_of_an_inaccurate_network_are_refused() -> None:
    mistakes.check_worth(mistakes.suspects(drawn(2_000, 10, 0, 4.0)))
    inaccurate = mistakes.suspects(drawn(2_000, 10, 0, 1.0))
    with pytest.raises(EraError, match=f"{inaccurate.accuracy:.2%} accuracy.*--force"):
        mistakes.check_worth(inaccurate)


def test_suspects_rank_by_normalised_margin() -> None:
    evaluated = drawn(400, 5, seed=3)
    listed = mistakes.suspects(evaluated)
    probabilities = softmax(evaluated.logits.astype(np.float64), axis=1)

    def normalised(place: int) -> float:
        label = evaluated.labels[place]
        return float(probabilities[place, label] - np.delete(probabilities[place], label).max())

    assert mistakes.ordered(listed, "margin").places.tolist() == sorted(listed.places.tolist(), key=normalised)


def test_suspects_rank_by_self_confidence() -> None:
    evaluated = drawn(400, 5, seed=4)
    listed = mistakes.suspects(evaluated)
    probabilities = softmax(evaluated.logits.astype(np.float64), axis=1)
    own = {place: float(probabilities[place, evaluated.labels[place]]) for place in listed.places.tolist()}
    assert mistakes.ordered(listed, "loss").places.tolist() == sorted(own, key=lambda place: own[place])


# Which, and in which order


@pytest.mark.parametrize(
    ("true", "predicted"), [(None, None), ("class 1", None), (None, "class 2"), ("class 1", "class 2")]
)
def test_of_classes_filters_by_label_and_answer(true: str | None, predicted: str | None) -> None:
    for listed in (mistakes.wrong(drawn(200, 4, seed=5)), mistakes.suspects(drawn(400, 4, seed=5))):
        kept = mistakes.of_classes(listed, true, predicted)
        wanted = [
            place
            for place, label, answer in zip(listed.places, listed.labels, listed.answers, strict=True)
            if true in (None, f"class {label}") and predicted in (None, f"class {answer}")
        ]
        assert kept.places.tolist() == wanted
        assert 0 < len(kept) <= listed.total
        assert (kept.total, kept.evaluated) == (listed.total, listed.evaluated)
        assert (kept.true, kept.predicted) == (true, predicted)
        check_pairs(kept)


def test_of_classes_may_leave_none() -> None:
    listed = mistakes.wrong(evaluation([0, 0, 1], [[0, 1, 0], [1, 0, 0], [0, 1, 0]]))
    kept = mistakes.of_classes(listed, "class 1", None)
    assert (len(kept), kept.pairs, kept.total, listed.total) == (0, (), 1, 1)


@settings(max_examples=30)
@given(case=cases, order=st.sampled_from(["confidence", "loss", "margin", "index"]))
def test_orders_are_stable_and_as_named(case: tuple[int, list[int], int], order: str) -> None:
    _, labels, _ = case
    once = random_evaluation(case, coarse=True)
    twice = evaluation(labels * 2, np.tile(once.logits, (2, 1)))  # every image has a twin
    listed = mistakes.wrong(twice)
    value = listed.index if order == "index" else -getattr(listed, order)
    rows = sorted(range(len(listed)), key=lambda row: float(value[row]))  # Python's sort is stable
    sorted_ = mistakes.ordered(listed, order)
    assert sorted_.places.tolist() == listed.places[rows].tolist()
    assert sorted_.order == order
    check_rows(sorted_, twice)
    check_pairs(sorted_)


def test_the_random_order_depends_on_the_seed_alone() -> None:
    listed = mistakes.wrong(drawn(300, 4, seed=6))
    one, again, other = (mistakes.ordered(listed, "random", seed).places.tolist() for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert sorted(one) == sorted(other) == listed.places.tolist()
    assert one != listed.places.tolist()
    # Other answers on as many images are drawn in the same order.
    both = evaluation([1] * 8, [[1, 0]] * 8), evaluation([0] * 8, np.arange(16).reshape(8, 2))
    first, second = (mistakes.ordered(mistakes.wrong(evaluated), "random", 5).places.tolist() for evaluated in both)
    assert first == second


def test_the_files_follow_their_images() -> None:
    evaluated = drawn(100, 4, seed=7)
    files = tuple(f"{place}.png" for place in range(100))
    for listed in (mistakes.wrong(evaluated, files), mistakes.suspects(evaluated, files)):
        narrowed = mistakes.of_classes(listed, None, "class 3")
        for some in (listed, narrowed, mistakes.ordered(narrowed, "random", 3), mistakes.ordered(listed, "loss")):
            assert len(some) > 0
            assert some.files == tuple(f"{place}.png" for place in some.places)
