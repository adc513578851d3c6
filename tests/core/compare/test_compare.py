"""Two sides compared: what is counted, what may be claimed, what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from era_cli.core.compare import claim
from era_cli.core.compare.compare import compare
from era_cli.core.compare.evaluated import EvaluatedRun
from era_cli.errors import UsageError
from era_cli.recipes import default, with_options
from era_cli.results import Comparison
from tests.core.compare.support import evaluated
from tests.support import run_document

RIGHT = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]


def wrong_at(*places: int) -> list[int]:
    """Predictions of RIGHT that are wrong at these places."""
    return [(label + 1) % 3 if place in places else label for place, label in enumerate(RIGHT)]


def pair(a: list[int], b: list[int]) -> Comparison:
    return compare([evaluated("a", RIGHT, a)], [evaluated("b", RIGHT, b)])


def group(name: str, *predictions: list[int], **changes: Any) -> list[EvaluatedRun]:
    return [
        evaluated(f"{name}-{seed}", RIGHT, predicted, changes=seeded(seed, **changes))
        for seed, predicted in enumerate(predictions)
    ]


def seeded(seed: int, **fields: Any) -> dict[str, Any]:
    recipe = with_options(default(), {"batch_size": 32, "seed": seed, **fields})
    return {"recipe": recipe, "seed": seed}


def test_a_pair_is_counted_image_by_image() -> None:
    found = pair(wrong_at(0, 1, 4), wrong_at(4, 5))
    assert found.paired is not None
    assert dataclasses.astuple(found.paired) == (6, 1, 2, 1)
    assert (found.a.runs[0].correct, found.b.runs[0].correct, found.count) == (7, 8, 10)
    assert found.difference.value == pytest.approx(0.1)
    assert found.difference.p_value == pytest.approx(stats.binomtest(1, 3, 0.5).pvalue)
    assert found.lost.places.tolist() == [5]
    assert sorted(found.gained.places.tolist()) == [0, 1]
    assert (found.a.deviation, found.b.deviation) == (None, None)
    cat, dog, emu = found.per_class
    assert (cat.name, cat.support, cat.a, cat.b, cat.lost, cat.gained) == ("cat", 4, 0.5, 1.0, 0, 2)
    assert (dog.support, dog.a, dog.b, dog.lost, dog.gained) == (4, 0.75, 0.5, 1, 0)
    assert (emu.p_value, emu.p_value_holm) == (1.0, 1.0)
    assert (cat.p_value, cat.p_value_holm) == (0.5, 1.0)  # of three classes


def test_a_flip_holds_what_each_side_predicts() -> None:
    found = pair(wrong_at(0), wrong_at(9)).lost
    likely = float(np.exp(4) / (np.exp(4) + 2))
    assert (found.labels.tolist(), found.index.tolist()) == ([2], [9])
    assert (found.a_predicted.tolist(), found.b_predicted.tolist()) == ([2], [0])
    assert found.a_probability == pytest.approx([likely])
    assert found.b_probability == pytest.approx([likely])
    assert found.a_true_probability == pytest.approx([likely])
    assert found.b_true_probability == pytest.approx([(1 - likely) / 2])
    assert found.change == pytest.approx([(1 - likely) / 2 - likely])


def test_the_largest_change_of_probability_comes_first() -> None:
    a, b = evaluated("a", RIGHT, RIGHT), evaluated("b", RIGHT, wrong_at(0, 1, 2))
    sure = b.predictions.evaluation.logits.copy()
    sure[1] *= 3
    evaluation = dataclasses.replace(b.predictions.evaluation, logits=sure)
    b = dataclasses.replace(b, predictions=dataclasses.replace(b.predictions, evaluation=evaluation))
    assert compare([a], [b]).lost.places.tolist() == [1, 0, 2]
    assert compare([b], [a]).gained.places.tolist() == [1, 0, 2]


predictions = st.lists(st.integers(0, 2), min_size=10, max_size=10)


@settings(max_examples=30)
@given(predictions, predictions)
def test_b_against_a_is_the_mirror_image_of_a_against_b(a: list[int], b: list[int]) -> None:
    one, other = pair(a, b), pair(b, a)
    assert one.difference.value == -other.difference.value
    assert one.difference.p_value == other.difference.p_value
    assert one.difference.interval is not None
    assert other.difference.interval == pytest.approx([-limit for limit in reversed(one.difference.interval)])
    assert one.lost.places.tolist() == other.gained.places.tolist()
    assert one.gained.a_probability.tolist() == other.lost.b_probability.tolist()
    assert {None: None, "a": "b", "b": "a"}[one.better] == other.better
    assert [(each.lost, each.gained) for each in one.per_class] == [
        (each.gained, each.lost) for each in other.per_class
    ]


def test_groups_are_compared_by_their_means() -> None:
    a = group("a", wrong_at(0, 1), wrong_at(0, 2, 3), wrong_at(0, 4))
    b = group("b", wrong_at(9), wrong_at(8), wrong_at(9, 4))
    found = compare(a, b)
    accuracies = np.array([0.8, 0.7, 0.8]), np.array([0.9, 0.9, 0.8])
    expected = stats.ttest_ind(accuracies[1], accuracies[0], equal_var=False)
    assert found.paired is None
    assert (found.a.mean, found.a.deviation) == pytest.approx((accuracies[0].mean(), accuracies[0].std(ddof=1)))
    assert found.difference.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.difference.p_value == pytest.approx(expected.pvalue)
    # Image 0 is wrong in all of A and right in all of B; image 9 right in all of A and wrong in two of three of B.
    assert (found.lost.places.tolist(), found.gained.places.tolist()) == ([9], [0])
    assert found.lost.b_right == pytest.approx([1 / 3])
    assert found.gained.a_predicted.tolist() == [1]
    assert [run.seed for run in found.b.runs] == [0, 1, 2]
    assert found.settings == ()  # seeds are no difference


def test_half_of_the_runs_is_not_most() -> None:
    found = compare(group("a", wrong_at(), wrong_at(1)), group("b", wrong_at(0, 1), wrong_at(1, 2)))
    assert found.lost.places.tolist() == []
    assert found.gained.places.tolist() == []


def test_a_wrong_side_is_shown_with_its_most_frequent_wrong_class() -> None:
    """Image 0 is a cat: of five runs of B two say so, and a plurality is not most."""
    b = [[label, *RIGHT[1:]] for label in (0, 0, 1, 2, 2)]
    b = [[*predicted[:-1], (seed % 3)] for seed, predicted in enumerate(b)]  # so that no two are the same
    found = compare(group("a", *([*RIGHT[:-1], seed] for seed in range(3))), group("b", *_distinct(b)))
    place = found.lost.places.tolist().index(0)
    assert (found.lost.a_predicted[place], found.lost.b_predicted[place]) == (0, 2)


def _distinct(predictions: list[list[int]]) -> list[list[int]]:
    """The same, each with other mistakes at images 4 to 7."""
    return [[*each[:4], *wrong_at(*range(4, 4 + place))[4:8], *each[8:]] for place, each in enumerate(predictions)]


@pytest.mark.parametrize(
    ("only_a", "only_b", "better", "says"),
    [
        (0, 9, "b", r"B (b) is better than A (a) by 15.00 points on 60 images, 95% interval 5."),
        (9, 0, "a", r"A (a) is better than B (b) by 15.00 points on 60 images, 95% interval 5."),
        (0, 1, None, "no difference can be claimed: B (b) is 1.67 points ahead of A (a) on 60 images, but the 95%"),
        (0, 0, None, "no difference can be claimed: A (a) and B (b) are equally accurate on 60 images, and the 95%"),
        (2, 2, None, "includes 0 (McNemar's exact p = 1)"),
        (0, 5, None, "but McNemar's exact p is 0.062, though the 95% interval of B - A, 0."),
    ],
)
def test_the_claim_about_two_networks(only_a: int, only_b: int, better: str | None, says: str) -> None:
    labels = RIGHT * 6
    a, b = (
        [(label + 1) % 3 if place in wrong else label for place, label in enumerate(labels)]
        for wrong in (
            range(20, 20 + only_b),
            range(only_a),
        )
    )
    found = compare([evaluated("a", labels, a)], [evaluated("b", labels, b, changes=seeded(1))])
    assert found.better == better
    assert says in found.claim
    assert found.claim.endswith(
        "; both were trained by the same recipe, so this says how two trained networks differ,"
        " and nothing about recipes"
    )
    found = compare([evaluated("a", labels, a)], [evaluated("b", labels, b, changes=seeded(1, epochs=9))])
    assert says in found.claim
    assert found.claim.endswith("how much another seed would change is not in the interval")


def test_the_claim_about_groups() -> None:
    a = group("a", wrong_at(0, 1, 2), wrong_at(0, 1, 3), wrong_at(0, 2, 3, 4))
    b = group("b", wrong_at(), wrong_at(9), wrong_at(8), epochs=9)
    found = compare(a, b)
    assert found.better == "b"
    assert found.claim.startswith("B (3 runs) is better than A (3 runs) by 26.67 points on average, 95% interval")
    assert found.claim.endswith("the interval is over seeds, for these 10 images alone")


def test_the_claim_about_groups_says_how_far_it_goes() -> None:
    a = group("a", wrong_at(0, 1, 2), wrong_at(0, 1, 3), wrong_at(0, 2, 3, 4))
    b = group("b", wrong_at(), wrong_at(9), wrong_at(8), epochs=9)
    assert compare(a, group("b", wrong_at(), wrong_at(9))).claim.endswith(
        "the sides differ in no recorded setting, so a difference between them is probably chance"
    )
    mixed = compare(a, [*b[:2], *group("c", wrong_at(8), epochs=8)])
    assert mixed.claim.endswith("the runs of B differ in more than their seeds, so this is about these runs alone")
    repeated = compare(a, [*b[:2], *group("c", wrong_at(8), epochs=9)])
    assert repeated.claim.endswith("runs of B have the same seed, so this is about these runs alone")


def test_the_claim_about_a_run_in_training_is_about_nothing_else() -> None:
    a, b = evaluated("a", RIGHT, wrong_at(0)), evaluated("b", RIGHT, wrong_at(), changes={"status": "interrupted"})
    says = "the training of B is not finished, so this is about the networks as they are, and says nothing about"
    assert says in compare([a], [b]).claim
    assert says in compare([a, evaluated("c", RIGHT, wrong_at(1))], [b, evaluated("d", RIGHT, wrong_at(2, 3))]).claim


def test_runs_that_do_not_vary_support_no_claim() -> None:
    found = compare(group("a", wrong_at(0), wrong_at(1)), group("b", wrong_at(0, 1), wrong_at(2, 3)))
    assert (found.difference.interval, found.difference.p_value, found.better) == (None, None, None)
    assert found.claim.startswith("no difference can be claimed: neither the 2 runs of A nor the 2 runs of B vary in")


def test_equal_means_differ_by_nothing() -> None:
    a, b = group("a", wrong_at(0), wrong_at(1), wrong_at(1, 2)), group("b", wrong_at(0, 3), wrong_at(1), wrong_at(2))
    found = compare(a, b)
    assert found.difference.value == 0
    assert "A (3 runs) and B (3 runs) are equally accurate on average, and the 95% interval" in found.claim


def test_an_interval_that_barely_excludes_0_shows_it() -> None:
    assert [claim._number(value) for value in (0.0, 0.00003, -0.00003, 0.0042)] == ["0.00", "0.003", "-0.003", "0.42"]


def test_settings_that_differ_are_listed_seeds_are_not() -> None:
    a = group("a", wrong_at(0), wrong_at(1, 2), max_lr=0.1)
    b = group("b", wrong_at(3), wrong_at(4, 5), epochs=9)
    b[1] = dataclasses.replace(b[1], document=dataclasses.replace(b[1].document, git_commit="abc"))
    assert [(each.name, each.a, each.b, each.varies) for each in compare(a, b).settings] == [
        ("recipe.epochs", (24,), (9,), False),
        ("recipe.max_lr", (0.1,), (0.2,), False),
        ("git_commit", (None,), (None, "abc"), True),
    ]


def test_one_run_against_several_is_refused() -> None:
    with pytest.raises(UsageError, match=r"A is 1 run and B 2 runs: name one run on each side, .* or at least two"):
        compare(group("a", wrong_at(0)), group("b", wrong_at(1), wrong_at(2)))


def test_the_same_network_twice_on_a_side_is_refused() -> None:
    b = group("b", wrong_at(1), wrong_at(2))
    with pytest.raises(UsageError, match="runs/b-0 and runs/b-0, both of B, hold the same network"):
        compare(group("a", wrong_at(0), wrong_at(3)), [b[0], b[0]])


OF_DATA = run_document().data


@pytest.mark.parametrize(
    ("data", "record", "says"),
    [
        ({"content_hash": "1"}, {"source": "plants"}, "since their data are digits and plants"),
        ({"content_hash": "1"}, {"image_size": 16}, "since their images are 32 and 16 pixels wide"),
        ({"content_hash": "1"}, {"classes": ("even", "rest")}, "since their classes differ (only one has 'odd')"),
        ({"content_hash": "1"}, {"classes": ("odd", "even")}, "since their classes differ (they are in another order)"),
        ({"content_hash": "1"}, {"content_hash": "f" * 64}, "(content hashes 000000000000 and ffffffffffff)"),
        ({"test": np.arange(9)}, {}, "test on different samples (10 test images and 9 test images): compare them with"),
    ],
)
def test_other_images_are_refused_by_what_differs(data: dict[str, Any], record: dict[str, Any], says: str) -> None:
    other = evaluated("b", RIGHT, RIGHT, data=data, changes={"data": dataclasses.replace(OF_DATA, **record)})
    with pytest.raises(UsageError) as refused:
        compare([evaluated("a", RIGHT, RIGHT)], [other])
    assert str(refused.value).startswith("runs/a and runs/b ")
    assert says in str(refused.value)
