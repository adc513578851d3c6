from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, f1_score, log_loss, precision_recall_fscore_support
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from era_cli.core.evaluation import metrics
from era_cli.results import Evaluation


def evaluation(labels: npt.ArrayLike, logits: npt.ArrayLike) -> Evaluation:
    table = np.asarray(logits, np.float32)
    classes = tuple(f"class {place}" for place in range(table.shape[1]))
    return Evaluation(index=np.arange(len(table)), labels=np.asarray(labels, np.int64), logits=table, classes=classes)


def drawn(count: int, classes: int, seed: int, skill: float = 1.5) -> Evaluation:
    """Random answers that are right more often than chance."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, count)
    return evaluation(labels, draw.normal(size=(count, classes)) + skill * np.eye(classes)[labels])


def answered(true: list[int], predicted: list[int], classes: int) -> Evaluation:
    """What a network says that takes images of class `true` for `predicted`."""
    return evaluation(true, np.eye(classes)[predicted])


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


answers = st.integers(2, 7).flatmap(
    lambda classes: st.tuples(
        st.just(classes),
        st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=40),
    )
)


# The headline


@settings(max_examples=25)
@given(answers)
def test_accuracy_and_loss_are_those_of_the_answers(case: tuple[int, list[tuple[int, int]]]) -> None:
    classes, pairs = case
    true, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    evaluated = answered(true, predicted, classes)
    result = metrics.measure(evaluated)
    right = sum(one == other for one, other in pairs)
    assert (result.correct, result.count) == (right, len(pairs))
    assert result.accuracy == right / len(pairs)
    assert result.loss == pytest.approx(log_loss(true, softmax(evaluated.logits), labels=range(classes)), rel=1e-9)


def test_the_loss_is_torchs_cross_entropy() -> None:
    evaluated = drawn(500, 10, seed=1)
    wanted = torch.nn.functional.cross_entropy(
        torch.from_numpy(evaluated.logits).double(), torch.from_numpy(evaluated.labels)
    )
    assert metrics.measure(evaluated).loss == pytest.approx(wanted.item(), rel=1e-12)


def test_the_interval_is_of_the_evaluations_counts() -> None:
    result = metrics.measure(answered([0] * 9 + [1], [0] * 7 + [1] * 3, 2))
    wanted = binomtest(8, 10).proportion_ci(confidence_level=0.95, method="wilson")
    assert result.interval == pytest.approx((wanted.low, wanted.high), rel=1e-12)


@pytest.mark.parametrize("classes", [6, 10, 100])
def test_top_5_is_that_of_torchmetrics(classes: int) -> None:
    evaluated = drawn(400, classes, seed=classes, skill=0.7)
    wanted = multiclass_accuracy(
        torch.from_numpy(evaluated.logits), torch.from_numpy(evaluated.labels), classes, average="micro", top_k=5
    )
    top5 = metrics.measure(evaluated).top5
    assert top5 is not None
    assert top5 == pytest.approx(wanted.item(), abs=1e-6)
    assert top5 < 1


@pytest.mark.parametrize(("classes", "told"), [(4, False), (5, False), (6, True)])
def test_top5_needs_more_than_five_classes(classes: int, told: bool) -> None:
    assert (metrics.measure(drawn(20, classes, seed=0)).top5 is not None) == told


# Classes


@settings(max_examples=25)
@given(answers)
def test_the_confusion_matrix_equals_scikit_learns(
    case: tuple[int, list[tuple[int, int]]],
) -> None:
    classes, pairs = case
    true, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    confusion = metrics.measure(answered(true, predicted, classes)).confusion
    np.testing.assert_array_equal(confusion, confusion_matrix(true, predicted, labels=range(classes)))


@settings(max_examples=25)
@given(answers)
def test_precision_recall_and_f1_equal_scikit_learns(
    case: tuple[int, list[tuple[int, int]]],
) -> None:
    classes, pairs = case
    true, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    result = metrics.measure(answered(true, predicted, classes))
    wanted = precision_recall_fscore_support(true, predicted, labels=range(classes), zero_division=np.nan)
    for name, column in zip(("precision", "recall", "f1"), wanted[:3], strict=True):
        shares = [getattr(score, name) for score in result.per_class]
        assert [math.nan if share is None else share for share in shares] == pytest.approx(
            column, rel=1e-12, nan_ok=True
        )
    assert [score.support for score in result.per_class] == wanted[3].tolist()
    assert [score.name for score in result.per_class] == [f"class {place}" for place in range(classes)]


@settings(max_examples=25)
@given(answers)
def test_macro_f1_equals_scikit_learns(case: tuple[int, list[tuple[int, int]]]) -> None:
    classes, pairs = case
    true, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    wanted = f1_score(true, predicted, average="macro", zero_division=np.nan)
    assert metrics.measure(answered(true, predicted, classes)).macro_f1 == pytest.approx(wanted, rel=1e-12)


def test_scores_of_absent_and_unpredicted_classes_differ() -> None:
    # 0 is sound, 1 is never predicted, 2 is guessed though no image is of it, 3 is not there at all.
    scores = metrics.measure(answered([0, 0, 1, 1], [0, 0, 0, 2], 4)).per_class
    assert [(score.precision, score.recall, score.f1, score.support) for score in scores] == [
        (2 / 3, 1.0, 0.8, 2),
        (None, 0.0, 0.0, 2),
        (0.0, None, 0.0, 0),
        (None, None, None, 0),
    ]


@settings(max_examples=25)
@given(answers)
def test_pairs_list_every_confusion_most_frequent_first(case: tuple[int, list[tuple[int, int]]]) -> None:
    classes, pairs = case
    true, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    listed = metrics.measure(answered(true, predicted, classes)).pairs
    counted = {
        (f"class {one}", f"class {other}"): (pairs.count((one, other)), pairs.count((one, other)) / true.count(one))
        for one, other in pairs
        if one != other
    }
    assert {(pair.true, pair.predicted): (pair.count, pair.share) for pair in listed} == counted
    assert len(listed) == len(counted)
    counts = [pair.count for pair in listed]
    assert counts == sorted(counts, reverse=True)


def test_the_confusion_itself_keeps_its_diagonal() -> None:
    result = metrics.measure(answered([0, 1, 1], [0, 1, 0], 2))
    assert result.confusion.tolist() == [[1, 0], [1, 1]]


# Calibration


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("seed", range(5))
def test_the_calibration_error_equals_torchmetrics(classes: int, seed: int) -> None:
    evaluated = drawn(700, classes, seed=seed)
    wanted = multiclass_calibration_error(
        torch.from_numpy(softmax(evaluated.logits)), torch.from_numpy(evaluated.labels), classes, n_bins=15, norm="l1"
    )
    result = metrics.measure(evaluated).calibration
    assert len(result.counts) == 15
    assert result.error == pytest.approx(wanted.item(), abs=1e-6)


def test_a_bin_holds_means_or_nan() -> None:
    evaluated = drawn(200, 3, seed=3)
    confidence = softmax(evaluated.logits).max(axis=1)
    right = evaluated.logits.argmax(axis=1) == evaluated.labels
    result = metrics.calibration(evaluated, bins=4)
    for place in range(4):
        inside = (confidence > place / 4) & (confidence <= (place + 1) / 4)
        assert result.counts[place] == inside.sum()
        if inside.any():
            assert result.confidence[place] == pytest.approx(confidence[inside].mean(), rel=1e-9)
            assert result.accuracy[place] == pytest.approx(right[inside].mean(), rel=1e-9)
    assert result.counts[0] == 0  # of three classes the likeliest has a third at least
    assert math.isnan(result.confidence[0])
    assert math.isnan(result.accuracy[0])


def test_a_bin_holds_its_upper_edge() -> None:
    evaluated = evaluation([0, 0], [[0, 0], [2_000, 0]])  # confidence one half, and one
    assert metrics.calibration(evaluated, bins=2).counts.tolist() == [1, 1]
    assert metrics.calibration(evaluated, bins=4).counts.tolist() == [0, 1, 0, 1]


def test_certainty_is_calibrated_only_where_correct() -> None:
    logits = [[2_000, 0, 0]] * 4
    assert metrics.measure(evaluation([0] * 4, logits)).calibration.error == 0
    assert metrics.measure(evaluation([1] * 4, logits)).calibration.error == 1
    assert metrics.measure(evaluation([0, 1, 1, 1], logits)).calibration.error == 0.75


@pytest.mark.parametrize(
    ("counts", "confidence", "accuracy", "expected"),
    [
        ([5_000, 5_000], [0.4, 0.8], [0.5, 0.9], "underconfident"),
        ([5_000, 5_000], [0.4, 0.8], [0.35, 0.75], "overconfident"),
        ([5_000, 5_000], [0.4, 0.8], [0.405, 0.805], "calibrated"),
        ([5, 5], [0.4, 0.8], [0.6, 0.8], "calibrated"),
        ([5_000, 5_000], [0.4, 0.8], [0.5, 0.7], "mixed"),
    ],
)
def test_the_direction_of_a_miscalibration(
    counts: list[int], confidence: list[float], accuracy: list[float], expected: str
) -> None:
    shares, gaps = np.array(counts) / sum(counts), np.subtract(accuracy, confidence)
    error, gap = float(shares @ np.abs(gaps)), float(shares @ gaps)
    assert metrics.direction(error, gap, np.array(counts), np.array(confidence)) == expected


def test_the_gap_is_accuracy_less_confidence() -> None:
    evaluated = drawn(200, 4, seed=1)
    gap = evaluated.accuracy - evaluated.probabilities.max(axis=1).mean()
    assert metrics.calibration(evaluated).gap == pytest.approx(gap)


def test_measuring_changes_nothing_in_the_evaluation() -> None:
    evaluated = drawn(50, 6, seed=0)
    before = [evaluated.index.copy(), evaluated.labels.copy(), evaluated.logits.copy()]
    metrics.measure(evaluated)
    for old, new in zip(before, (evaluated.index, evaluated.labels, evaluated.logits), strict=True):
        np.testing.assert_array_equal(old, new)
