from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from era_cli.core.data.splits import held_out_test, steps_per_epoch, stratified_sample, train_and_val
from era_cli.core.seeds import Stream
from era_cli.errors import UsageError
from era_cli.recipes import Recipe
from era_cli.results import Labels

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=120).map(lambda labels: np.array(labels, np.int64))
THREE_CLASSES = np.repeat(np.arange(3), [30, 20, 10])


def recipe(**fields: Any) -> Recipe:
    return Recipe(**{"batch_size": 2, **fields})


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(labels=LABELS, share=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_a_sample_is_sorted_distinct_and_of_the_exact_size(labels: Labels, share: float, seed: int) -> None:
    size = round(share * len(labels))
    sample = stratified_sample(labels, size, seed, Stream.SPLIT)
    assert sample.dtype == np.int64
    assert len(sample) == size
    assert (np.diff(sample) > 0).all()
    assert set(sample.tolist()) <= set(range(len(labels)))


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(labels=LABELS, share=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_each_class_gets_its_share_by_the_largest_remainder(labels: Labels, share: float, seed: int) -> None:
    size = round(share * len(labels))
    sampled = labels[stratified_sample(labels, size, seed, Stream.SPLIT)].tolist()
    rounded_up, rounded_down = [], []
    for label in set(labels.tolist()):
        exact = Fraction(int((labels == label).sum()) * size, len(labels))
        whole = int(exact)
        taken = sampled.count(label)
        if taken == whole:
            rounded_down.append(exact - whole)
        else:
            assert taken == whole + 1
            rounded_up.append(exact - whole)
    assert min(rounded_up, default=Fraction(1)) >= max(rounded_down, default=Fraction(0))


def test_every_image_of_a_class_may_be_drawn() -> None:
    drawn = {int(index) for seed in range(200) for index in stratified_sample(THREE_CLASSES, 6, seed, Stream.SPLIT)}
    assert drawn == set(range(60))


def test_the_streams_draw_different_samples() -> None:
    samples = {tuple(stratified_sample(THREE_CLASSES, 12, 0, stream)) for stream in Stream}
    assert len(samples) == len(Stream)


# Pins: a run must find its images again under every later version of the libraries.


def test_the_sample_of_seed_0_is_pinned() -> None:
    sample = stratified_sample(THREE_CLASSES, 12, 0, Stream.SPLIT)
    assert sample.tolist() == [3, 8, 9, 13, 18, 23, 38, 43, 48, 49, 51, 59]


def test_the_validation_split_of_seed_7_is_pinned() -> None:
    _, val = train_and_val(THREE_CLASSES, recipe(seed=7, val_size=6))
    assert val.tolist() == [2, 6, 8, 37, 44, 52]


def test_the_limited_training_split_of_seed_7_is_pinned() -> None:
    train, _ = train_and_val(THREE_CLASSES, recipe(seed=7, val_size=6, limit_train=9))
    assert train.tolist() == [3, 19, 21, 24, 25, 32, 40, 42, 51]


def test_the_held_out_test_split_is_pinned() -> None:
    _, test = held_out_test(np.repeat(np.arange(2), 10))
    assert test.tolist() == [1, 8, 10, 19]


# Held-out test


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(labels=LABELS)
def test_a_fifth_is_held_out_and_the_rest_trains(labels: Labels) -> None:
    train, test = held_out_test(labels)
    assert len(test) == max(1, round(len(labels) / 5))
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(labels)))
    assert (np.diff(train) > 0).all()
    assert train.dtype == test.dtype == np.int64


# Training and validation


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(labels=LABELS.filter(lambda labels: len(labels) > 1), share=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_training_and_validation_are_disjoint_and_complete(labels: Labels, share: float, seed: int) -> None:
    val_size = round(share * (len(labels) - 2))
    train, val = train_and_val(labels, recipe(seed=seed, val_size=val_size))
    assert len(val) == val_size
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(len(labels)))
    assert train.dtype == val.dtype == np.int64


def test_the_split_is_fixed_by_the_seed() -> None:
    first, again, another = (train_and_val(THREE_CLASSES, recipe(seed=seed, val_size=12))[1] for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != another.tolist()


@pytest.mark.parametrize(
    ("count", "expected"),
    [(60_000, 5_000), (50_000, 5_000), (49_990, 4_999), (1_437, 144), (20, 2), (3, 0)],
)
def test_by_default_a_tenth_validates_and_at_most_5000(count: int, expected: int) -> None:
    train, val = train_and_val(np.arange(count, dtype=np.int64) % 10, recipe())
    assert (len(train), len(val)) == (count - expected, expected)


def test_val_size_0_trains_on_everything() -> None:
    train, val = train_and_val(THREE_CLASSES, recipe(val_size=0))
    assert train.tolist() == list(range(60))
    assert len(val) == 0
    assert val.dtype == np.int64


@pytest.mark.parametrize("val_size", [60, 61, 10**9])
def test_a_validation_split_that_leaves_nothing_is_refused(val_size: int) -> None:
    with pytest.raises(UsageError, match=f"--val-size {val_size} leaves nothing of the 60 training images"):
        train_and_val(THREE_CLASSES, recipe(val_size=val_size))


def test_too_few_images_for_a_batch_are_refused_with_a_batch_size_that_works() -> None:
    with pytest.raises(UsageError, match="54 training images do not fill a batch of 55: use --batch-size 13,"):
        steps_per_epoch(THREE_CLASSES[:54], recipe(batch_size=55))
    assert steps_per_epoch(THREE_CLASSES[:54], recipe(batch_size=54)) == 1
    assert steps_per_epoch(THREE_CLASSES[:54], recipe(batch_size=13)) == 4  # the last two images are left out


def test_a_limit_takes_a_stratified_sample_of_what_does_not_validate() -> None:
    _, val = train_and_val(THREE_CLASSES, recipe(val_size=6))
    train, same_val = train_and_val(THREE_CLASSES, recipe(val_size=6, limit_train=18))
    assert np.bincount(THREE_CLASSES[train]).tolist() == [9, 6, 3]
    assert same_val.tolist() == val.tolist()
    assert not set(train) & set(val)
    assert (np.diff(train) > 0).all()


def test_a_limit_beyond_the_images_takes_them_all() -> None:
    train, _ = train_and_val(THREE_CLASSES, recipe(val_size=6, limit_train=1_000))
    assert len(train) == 54
