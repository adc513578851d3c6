from __future__ import annotations

import hashlib
import os
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from era_cli.core.data import dataset
from era_cli.core.data.dataset import content_hash, mean_and_std, resize
from era_cli.errors import UsageError
from era_cli.results import Images


@pytest.fixture(autouse=True)
def _several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_CHUNK", 5 * 3 * 4 * 4)  # five images of 4 px


def noise(count: int, side: int = 4, seed: int = 0) -> Images:
    return np.random.RandomState(seed).randint(0, 256, (count, 3, side, side)).astype(np.uint8)


# Mean and standard deviation


@settings(max_examples=30, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    count=st.integers(1, 17),
    side=st.integers(2, 5),
    seed=st.integers(0, 2**32 - 1),
    power=st.floats(0.2, 5),
)
def test_mean_and_std_are_those_of_float64(count: int, side: int, seed: int, power: float) -> None:
    random = np.random.RandomState(seed)
    images = (random.random_sample((count, 3, side, side)) ** power * 255.99).astype(np.uint8)
    indices = np.flatnonzero(random.random_sample(count) < 0.7) if count > 1 else np.array([0])
    indices = indices if len(indices) else np.arange(count)
    mean, std = mean_and_std(images, indices)
    floats = images[indices].astype(np.float64) / 255
    np.testing.assert_allclose(mean, floats.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, np.maximum(floats.std(axis=(0, 2, 3)), 1 / 255), rtol=1e-12)


def test_mean_and_std_count_only_the_given_images() -> None:
    images = noise(12)
    images[6:] = 255
    expected = images[:6].astype(np.float64).mean(axis=(0, 2, 3)) / 255
    np.testing.assert_allclose(mean_and_std(images, np.arange(6))[0], expected, rtol=1e-12)


def test_each_channel_has_its_own() -> None:
    images = np.zeros((2, 3, 4, 4), np.uint8)
    images[1, 0] = 255
    images[:, 2] = 51
    mean, std = mean_and_std(images, np.arange(2))
    assert mean == pytest.approx((0.5, 0.0, 0.2))
    assert std == pytest.approx((0.5, 1 / 255, 1 / 255))


def test_the_results_are_plain_floats_for_run_json() -> None:
    assert {type(value) for values in mean_and_std(noise(3), np.arange(3)) for value in values} == {float}


# Content hash


def test_the_content_hash_is_pinned() -> None:
    # Stored in every run: a changed value would make a run's own data look like others.
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    expected = "0691a50a5f9ef89a456808a14b318df1dc2a28867e97523922de76f4df44332c"
    assert content_hash(("a", "b"), images, np.array([0, 1]), np.array([1])) == expected


def test_the_content_hash_changes_with_a_pixel_a_label_a_name_and_the_split() -> None:
    images, labels, test = noise(12), np.arange(12) % 2, np.array([3, 4])
    hashes = [content_hash(("cat", "dog"), images, labels, test)]
    for place in [(0, 0, 0, 0), (11, 2, 3, 3)]:
        changed = images.copy()
        changed[place] ^= 1
        hashes.append(content_hash(("cat", "dog"), changed, labels, test))
    hashes.append(content_hash(("cat", "dog"), images.reshape(12, 3, 2, 8), labels, test))
    hashes.append(content_hash(("cat", "dog"), images, np.append(labels[:-1], 0), test))
    hashes.append(content_hash(("cat", "Dog"), images, labels, test))
    hashes.append(content_hash(("cat", "dog", "emu"), images, labels, test))
    hashes.append(content_hash(("dog", "cat"), images, labels, test))
    hashes.append(content_hash(("cat", "dog"), images, labels, np.array([3, 5])))
    hashes.append(content_hash(("cat", "dog"), images, labels, np.array([3])))
    assert len(set(hashes)) == len(hashes)


def test_the_content_hash_knows_neither_memory_layout_nor_label_width(tmp_path: Path) -> None:
    images, labels, test = noise(12), np.arange(12) % 2, np.array([3, 4])
    expected = content_hash(("cat", "dog"), images, labels, test)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="c")
    assert content_hash(("cat", "dog"), mapped, labels, test) == expected
    assert content_hash(("cat", "dog"), np.asfortranarray(images), labels, test) == expected
    assert content_hash(("cat", "dog"), images, labels.astype(np.int32), test.astype(np.int16)) == expected
    assert len(expected) == hashlib.sha256().digest_size * 2


def test_a_name_that_is_not_utf_8_can_be_hashed() -> None:
    name = b"caf\xe9".decode(errors="surrogateescape")
    assert content_hash((name, "dog"), noise(1), np.array([0]), np.array([0]))


# Resizing


def test_images_that_fit_are_returned_as_they_are() -> None:
    images = noise(3)
    assert resize(images, 4) is images


@pytest.mark.parametrize("size", [2, 4, 16])
def test_one_color_stays_that_color_at_any_size(size: int) -> None:
    images = np.empty((7, 3, 8, 8), np.uint8)
    images[:] = np.array([0, 77, 255], np.uint8)[:, None, None]
    resized = resize(images, size)
    assert resized.shape == (7, 3, size, size)
    assert resized.dtype == np.uint8
    for channel, value in enumerate((0, 77, 255)):
        assert np.unique(resized[:, channel]).tolist() == [value]


def test_every_image_is_resized_and_in_its_order() -> None:
    images = np.repeat(np.arange(12, dtype=np.uint8) * 20, 3 * 8 * 8).reshape(12, 3, 8, 8)
    assert resize(images, 5)[:, 1, 2, 2].tolist() == [index * 20 for index in range(12)]


def test_making_smaller_smooths_rather_than_picks() -> None:
    stripes = np.zeros((1, 3, 16, 16), np.uint8)
    stripes[..., ::2] = 255
    assert np.abs(resize(stripes, 4).astype(int) - 127.5).max() < 20


@pytest.mark.parametrize("size", [5, 24])
def test_it_resizes_as_pillow_does(size: int) -> None:
    images = noise(6, side=12)
    for image, resized in zip(images, resize(images, size), strict=True):
        other = Image.fromarray(image.transpose(1, 2, 0)).resize((size, size), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(resized.transpose(1, 2, 0).astype(int), np.asarray(other).astype(int), atol=1)


def test_values_are_rounded_to_the_nearest() -> None:
    images = np.zeros((1, 3, 2, 2), np.uint8)
    images[..., 0, 0] = 3  # the mean of the four is 0.75
    assert np.unique(resize(images, 1)).tolist() == [1]


def test_memory_mapped_images_are_resized_without_a_warning(tmp_path: Path) -> None:
    images = noise(12, side=8)
    np.save(tmp_path / "images.npy", images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resized = resize(np.load(tmp_path / "images.npy", mmap_mode="c"), 4)
    np.testing.assert_array_equal(resized, resize(images, 4))


def test_images_that_memory_cannot_hold_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__)
    images = np.zeros((10, 3, 8, 8), np.uint8)
    assert resize(images, 256).shape == (10, 3, 256, 256)  # 1.97 MB of 4.1
    with pytest.raises(UsageError, match="smaller --image-size"):
        resize(images, 264)


# What the source calls its images


def split(*, own_test: bool) -> dataset.Dataset:
    return dataset.Dataset(
        name="",
        source="",
        classes=("a", "b"),
        images=noise(8),
        labels=np.arange(8) % 2,
        train=np.array([0, 2, 3, 6, 7]),
        test=np.array([1, 4, 5]),
        content_hash="",
        own_test=own_test,
    )


def test_images_of_a_source_with_its_own_test_split_are_numbered_within_their_split() -> None:
    numbers = split(own_test=True).source_index
    assert numbers(np.array([0, 2, 3, 6, 7])).tolist() == [0, 1, 2, 3, 4]
    assert numbers(np.array([1, 4, 5])).tolist() == [0, 1, 2]
    assert numbers(np.array([7, 5, 2])).tolist() == [4, 2, 1]


def test_images_of_a_source_in_one_piece_are_numbered_within_all_of_it() -> None:
    assert split(own_test=False).source_index(np.array([7, 5, 2])).tolist() == [7, 5, 2]


def test_statistics_and_hash_of_large_images_hold_few_of_them_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    images = np.zeros((256, 3, 224, 224), np.uint8)  # 38 MB
    labels, all_of_them = np.zeros(256, np.int64), np.arange(256)
    tracemalloc.start()
    try:
        mean_and_std(images, all_of_them)
        content_hash(("one",), images, labels, all_of_them)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6
