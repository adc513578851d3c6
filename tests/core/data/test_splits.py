from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from era_cli.core.data import splits
from era_cli.core.data.splits import held_out_test, settled, steps_per_epoch, stratified_sample, train_and_val
from era_cli.core.seeds import Stream
from era_cli.errors import UsageError
from era_cli.recipes import Recipe
from era_cli.results import Labels

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=120).map(lambda labels: np.array(labels, np.int64))
SEEDS = st.integers(0, 2**32 - 1)
THREE_CLASSES = np.repeat(np.arange(3), [30, 20, 10])
many_examples = settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def recipe(**fields: Any) -> Recipe:
    return Recipe(**{"batch_size": 2, **fields})


def assert_sorted_indices(indices: Labels) -> None:
    assert indices.dtype == np.int64
    assert (np.diff(indices) > 0).all()


def assert_complete(count: int, *splits: Labels) -> None:
    assert sorted(np.concatenate(splits).tolist()) == list(range(count))
    for indices in splits:
        assert_sorted_indices(indices)


@many_examples
@given(labels=LABELS, share=st.floats(0, 1), seed=SEEDS)
def test_each_class_gets_its_share_by_largest_remainder(labels: Labels, share: float, seed: int) -> None:
    size = round(share * len(labels))
    sample = stratified_sample(labels, size, seed, Stream.SPLIT)
    assert len(sample) == size
    assert_sorted_indices(sample)
    assert set(sample.tolist()) <= set(range(len(labels)))
    sampled = labels[sample].tolist()
    rounded_up: list[Fraction] = []
    rounded_down: list[Fraction] = []
    for label in set(labels.tolist()):
        exact = Fraction(int((labels == label).sum()) * size, len(labels))
        whole, taken = int(exact), sampled.count(label)
        assert taken in (whole, whole + 1)
        (rounded_down if taken == whole else rounded_up).append(exact - whole)
    assert min(rounded_up, default=Fraction(1)) >= max(rounded_down, default=Fraction(0))


def test_every_image_of_a_class_may_be_drawn() -> None:
    drawn = {int(index) for seed in range(200) for index in stratified_sample(THREE_CLASSES, 6, seed, Stream.SPLIT)}
    assert drawn == set(range(60))


def test_seeds_and_streams_draw_different_samples() -> None:
    samples = {tuple(stratified_sample(THREE_CLASSES, 12, seed, stream)) for seed in (1, 2) for stream in Stream}
    assert len(samples) == 2 * len(Stream)


def test_the_splits_are_pinned() -> None:
    # A run must find its images again under every later version of the libraries.
    sample = stratified_sample(THREE_CLASSES, 12, 0, Stream.SPLIT)
    assert sample.tolist() == [3, 8, 9, 13, 18, 23, 38, 43, 48, 49, 51, 59]
    train, val = train_and_val(THREE_CLASSES, recipe(seed=7, val_size=6, limit_train=9))
    assert val.tolist() == [2, 6, 8, 37, 44, 52]
    assert train.tolist() == [3, 19, 21, 24, 25, 32, 40, 42, 51]
    _, test = held_out_test(np.repeat(np.arange(2), 10))
    assert test.tolist() == [1, 8, 10, 19]


@many_examples
@given(labels=LABELS)
def test_a_fifth_is_held_out_as_test_split(labels: Labels) -> None:
    train, test = held_out_test(labels)
    assert len(test) == max(1, round(len(labels) / 5))
    assert_complete(len(labels), train, test)


@many_examples
@given(labels=LABELS.filter(lambda labels: len(labels) > 1), share=st.floats(0, 1), seed=SEEDS)
def test_train_and_val_are_disjoint_and_complete(labels: Labels, share: float, seed: int) -> None:
    val_size = round(share * (len(labels) - 2))
    train, val = train_and_val(labels, recipe(seed=seed, val_size=val_size))
    assert len(val) == val_size
    assert_complete(len(labels), train, val)


@pytest.mark.parametrize(
    ("count", "expected"), [(60_000, 5_000), (50_000, 5_000), (49_990, 4_999), (1_437, 144), (20, 2), (3, 0)]
)
def test_by_default_a_tenth_validates_up_to_5000(count: int, expected: int) -> None:
    train, val = train_and_val(np.arange(count, dtype=np.int64) % 10, recipe())
    assert (len(train), len(val)) == (count - expected, expected)


@pytest.mark.parametrize("val_size", [60, 10**9])
def test_a_val_size_of_everything_is_refused(val_size: int) -> None:
    with pytest.raises(UsageError, match=f"--val-size {val_size} leaves none of the 60 training images"):
        train_and_val(THREE_CLASSES, recipe(val_size=val_size))


def test_a_limit_takes_a_stratified_training_sample() -> None:
    everything, val = train_and_val(THREE_CLASSES, recipe(val_size=6))
    train, same_val = train_and_val(THREE_CLASSES, recipe(val_size=6, limit_train=18))
    assert np.bincount(THREE_CLASSES[train]).tolist() == [9, 6, 3]
    assert same_val.tolist() == val.tolist()
    assert set(train) < set(everything)
    assert_sorted_indices(train)
    unlimited, _ = train_and_val(THREE_CLASSES, recipe(val_size=6, limit_train=1_000))
    assert unlimited.tolist() == everything.tolist()


def test_a_limit_on_training_limits_validation_too() -> None:
    labels = np.arange(50_000, dtype=np.int64) % 10
    _, all_val = train_and_val(labels, recipe())
    train, val = train_and_val(labels, recipe(limit_train=1_500))
    assert (len(train), len(val)) == (1_500, 150)
    assert set(val) < set(all_val)
    assert np.bincount(labels[val]).tolist() == [15] * 10
    # The same images are trained on as with the whole validation split.
    same, _ = train_and_val(labels, recipe(limit_train=1_500, val_size=5_000))
    assert train.tolist() == same.tolist()
    # Settled, as a run keeps it, the recipe gives the same splits.
    again = train_and_val(labels, settled(labels, recipe(limit_train=1_500)))
    assert [indices.tolist() for indices in again] == [train.tolist(), val.tolist()]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"limit_train": 40}, 10),  # one of each class
        ({"limit_train": 1_500, "val_size": 5_000}, 5_000),
        ({"limit_train": 1_500, "limit_val": 300}, 300),
        ({"limit_train": 1_500, "val_size": 0}, 0),
        ({"limit_train": 45_000}, 5_000),  # limits nothing
        ({"limit_val": 100}, 100),
    ],
)
def test_how_many_images_validate(fields: dict[str, int], expected: int) -> None:
    _, val = train_and_val(np.arange(50_000, dtype=np.int64) % 10, recipe(**fields))
    assert len(val) == expected


def test_a_limit_takes_the_same_test_images_for_every_seed() -> None:
    samples = [splits.test_sample(THREE_CLASSES, recipe(seed=seed, limit_test=6)) for seed in (0, 1)]
    assert samples[0].tolist() == samples[1].tolist()
    assert np.bincount(THREE_CLASSES[samples[0]]).tolist() == [3, 2, 1]
    assert len(splits.test_sample(THREE_CLASSES, recipe())) == len(THREE_CLASSES)


def test_too_few_images_for_a_batch_are_refused() -> None:
    with pytest.raises(UsageError, match="54 training images cannot fill a batch of 55: use --batch-size 13,"):
        steps_per_epoch(THREE_CLASSES[:54], recipe(batch_size=55))
    assert steps_per_epoch(THREE_CLASSES[:54], recipe(batch_size=54)) == 1
    assert steps_per_epoch(THREE_CLASSES[:54], recipe(batch_size=13)) == 4  # the last two images are dropped
