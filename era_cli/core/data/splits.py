"""Test and validation splits: stratified, and fixed by the seed."""

from __future__ import annotations

import dataclasses

import numpy as np

from era_cli.core.seeds import Stream, derived_seed
from era_cli.errors import UsageError
from era_cli.recipes import Recipe
from era_cli.results import Labels
from era_cli.text import plural

LARGEST_DEFAULT_VAL = 5_000
DEFAULT_VAL_FRACTION = 0.1
LIMITED_VAL_FRACTION = 0.1  # of the images that a limited training takes
TEST_FRACTION = 0.2  # of a source that comes without a test split


def stratified_sample(labels: Labels, size: int, seed: int, stream: Stream) -> Labels:
    """Sorted indices (size,) int64 of a random sample that keeps the class proportions.

    Each class gets its exact share rounded down; the rest goes to the largest remainders. Written
    here, on NumPy's frozen RandomState, because a run must get the same split under every later
    version of the libraries (NEP 19 freezes RandomState only).
    """
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * (size / len(labels))
    takes = np.floor(shares).astype(np.int64)
    remainders = np.argsort(-(shares - takes), kind="stable")
    takes[remainders[: size - takes.sum()]] += 1
    random = np.random.RandomState(derived_seed(seed, stream) % 2**32)
    per_class = [
        random.permutation(np.flatnonzero(labels == label))[:take] for label, take in zip(classes, takes, strict=True)
    ]
    return np.sort(np.concatenate(per_class)).astype(np.int64)


def held_out_test(labels: Labels) -> tuple[Labels, Labels]:
    """Indices (train, test) for a source without a test split; the same for every seed."""
    test = stratified_sample(labels, max(1, round(TEST_FRACTION * len(labels))), 0, Stream.TEST_SPLIT)
    return _rest(len(labels), test), test


def settled(labels: Labels, recipe: Recipe) -> Recipe:
    """The recipe with the size of the validation split and the limit on it decided, for a source's training split.

    A limit on training limits validation in proportion, unless either is given: else it would take most of the time.
    It does so by a sample of the validation split, so that the training images stay the same.
    """
    if recipe.val_size is not None:
        return recipe
    count = len(labels)
    val_size, limit = min(LARGEST_DEFAULT_VAL, round(DEFAULT_VAL_FRACTION * count)), recipe.limit_val
    if limit is None and recipe.limit_train is not None and recipe.limit_train < count - val_size:
        limit = max(round(LIMITED_VAL_FRACTION * recipe.limit_train), len(np.unique(labels)))
    return dataclasses.replace(recipe, val_size=val_size, limit_val=limit)


def test_sample(labels: Labels, recipe: Recipe) -> Labels:
    """Indices into the labels (N,) of a source's test split, the same for every seed: all, or as many as its limit."""
    return _limited(labels, np.arange(len(labels)), recipe.limit_test, 0)


def train_and_val(labels: Labels, recipe: Recipe) -> tuple[Labels, Labels]:
    """Indices (train, val) into the labels (N,) of a source's training split.

    Raises:
        UsageError: no image is left to train on.
    """
    count = len(labels)
    recipe = settled(labels, recipe)
    val_size = recipe.val_size or 0
    if val_size >= count:
        raise UsageError(f"--val-size {val_size} leaves none of the {count} training images: make it smaller")
    val = stratified_sample(labels, val_size, recipe.seed, Stream.SPLIT) if val_size else np.empty(0, np.int64)
    train = _rest(count, val)
    return (
        _limited(labels, train, recipe.limit_train, recipe.seed),
        _limited(labels, val, recipe.limit_val, recipe.seed),
    )


def steps_per_epoch(train: Labels, recipe: Recipe) -> int:
    """`recipe.steps_per_epoch` for the training indices (T,).

    Raises:
        UsageError: the images do not fill one batch.
    """
    if not (steps := recipe.steps_per_epoch(len(train))):
        raise UsageError(
            f"{plural(len(train), 'training image')} cannot fill a batch of {recipe.batch_size}:"
            f" use --batch-size {max(2, len(train) // 4)}, or add images"
        )
    return steps


def _limited(labels: Labels, indices: Labels, limit: int | None, seed: int) -> Labels:
    """A stratified sample of `indices`, sorted, if there are more than `limit`."""
    if limit is None or limit >= len(indices):
        return indices
    return indices[stratified_sample(labels[indices], limit, seed, Stream.SAMPLE)]


def _rest(count: int, taken: Labels) -> Labels:
    return np.setdiff1d(np.arange(count, dtype=np.int64), taken, assume_unique=True)
