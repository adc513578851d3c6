from __future__ import annotations

import dataclasses
import hashlib
import os
import tracemalloc
import warnings
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from era_cli.core.data import dataset
from era_cli.core.data.cache import ContentHashes
from era_cli.core.data.dataset import Dataset, absent_class, content_hash, mean_and_std, resize
from era_cli.errors import UsageError
from era_cli.results import Images, Labels
from tests.core.data.support import reference_hash


@pytest.fixture(autouse=True)
def _several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_CHUNK", 5 * 3 * 4 * 4)  # five images of 4 px


def noise(count: int, side: int = 4, seed: int = 0) -> Images:
    return np.random.RandomState(seed).randint(0, 256, (count, 3, side, side)).astype(np.uint8)


def a_dataset(*, own_test: bool = True) -> Dataset:
    return Dataset(
        name="",
        source="",
        classes=("cat", "dog", "emu"),
        images=noise(8),
        labels=np.arange(8) % 2,
        train=np.array([0, 2, 3, 6, 7]),
        test=np.array([1, 4, 5]),
        content_hash="",
        own_test=own_test,
    )


def test_class_counts_include_absent_classes() -> None:
    data = a_dataset()
    assert data.class_counts(data.train).tolist() == [3, 2, 0]
    assert absent_class(data.classes, data.labels) == "emu"
    assert absent_class(data.classes[:2], data.labels) is None


@pytest.mark.parametrize(
    ("own_test", "indices", "expected"),
    [
        (True, [0, 2, 3, 6, 7], [0, 1, 2, 3, 4]),
        (True, [1, 4, 5], [0, 1, 2]),
        (True, [7, 5, 2], [4, 2, 1]),
        (False, [7, 5, 2], [7, 5, 2]),
    ],
)
def test_source_index_counts_within_the_sources_split(own_test: bool, indices: list[int], expected: list[int]) -> None:
    assert a_dataset(own_test=own_test).source_index(np.array(indices)).tolist() == expected


# Mean and standard deviation


@settings(max_examples=30, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(count=st.integers(1, 17), side=st.integers(2, 5), seed=st.integers(0, 2**32 - 1), power=st.floats(0.2, 5))
def test_mean_and_std_are_those_of_float64(count: int, side: int, seed: int, power: float) -> None:
    random = np.random.RandomState(seed)
    images = (random.random_sample((count, 3, side, side)) ** power * 255.99).astype(np.uint8)
    indices = np.flatnonzero(random.random_sample(count) < 0.7) if count > 1 else np.array([0])
    indices = indices if len(indices) else np.arange(count)
    mean, std = mean_and_std(images, indices)
    floats = images[indices].astype(np.float64) / 255
    np.testing.assert_allclose(mean, floats.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, np.maximum(floats.std(axis=(0, 2, 3)), 1 / 255), rtol=1e-12)
    assert {type(value) for value in (*mean, *std)} == {float}  # for run.json


def test_each_channel_has_its_own_mean_and_std() -> None:
    images = np.zeros((2, 3, 4, 4), np.uint8)
    images[1, 0] = 255
    images[:, 2] = 51
    mean, std = mean_and_std(images, np.arange(2))
    assert mean == pytest.approx((0.5, 0.0, 0.2))
    assert std == pytest.approx((0.5, 1 / 255, 1 / 255))


# Content hash


CLASSES = ("cat", "dog")
LABELS: Labels = np.arange(12) % 2
TEST = np.array([3, 4])


def test_the_content_hash_is_pinned() -> None:
    # Stored in every run: with another value, a run's own data would look like different data.
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    expected = "0691a50a5f9ef89a456808a14b318df1dc2a28867e97523922de76f4df44332c"
    assert content_hash(("a", "b"), images, np.array([0, 1]), np.array([1])) == expected


def test_the_content_hash_covers_everything() -> None:
    images = noise(12)
    pixels = [images.copy() for _ in range(2)]
    pixels[0][0, 0, 0, 0] ^= 1
    pixels[1][11, 2, 3, 3] ^= 1
    hashes = [
        content_hash(CLASSES, images, LABELS, TEST),
        *(content_hash(CLASSES, changed, LABELS, TEST) for changed in pixels),
        content_hash(CLASSES, images.reshape(12, 3, 2, 8), LABELS, TEST),
        content_hash(CLASSES, images, np.append(LABELS[:-1], 0), TEST),
        *(content_hash(names, images, LABELS, TEST) for names in (("cat", "Dog"), ("dog", "cat"), (*CLASSES, "emu"))),
        *(content_hash(CLASSES, images, LABELS, np.array(test)) for test in ([3, 5], [3])),
    ]
    assert len(set(hashes)) == len(hashes)


def test_the_content_hash_ignores_layout_and_label_width(tmp_path: Path) -> None:
    images = noise(12)
    expected = content_hash(CLASSES, images, LABELS, TEST)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="c")
    assert content_hash(CLASSES, mapped, LABELS, TEST) == expected
    assert content_hash(CLASSES, np.asfortranarray(images), LABELS, TEST) == expected
    assert content_hash(CLASSES, images, LABELS.astype(np.int32), TEST.astype(np.int16)) == expected
    assert len(expected) == hashlib.sha256().digest_size * 2


def test_a_class_name_need_not_be_utf_8() -> None:
    name = b"caf\xe9".decode(errors="surrogateescape")
    assert content_hash((name, "dog"), noise(1), np.array([0]), np.array([0]))


# Content hashes in the cache: images that differ show whether the pixels were read


def cached_hash(hashes: ContentHashes, seed: int, test: Labels = TEST) -> str:
    return content_hash(CLASSES, noise(12, seed=seed), LABELS, test, hashes)


def true_hash(seed: int, test: Labels = TEST) -> str:
    return content_hash(CLASSES, noise(12, seed=seed), LABELS, test)


def test_each_split_is_hashed_once(tmp_path: Path) -> None:
    hashes, other = ContentHashes(tmp_path, 1), np.array([3, 5])
    assert cached_hash(hashes, seed=0) == true_hash(seed=0)
    assert cached_hash(hashes, seed=1, test=other) == true_hash(seed=1, test=other)
    assert cached_hash(hashes, seed=2, test=other) == true_hash(seed=1, test=other)
    assert cached_hash(hashes, seed=2) == true_hash(seed=0)


@pytest.mark.parametrize(
    "damage", ["removed", "emptied", "cut short", "overwritten", "bit flipped", "of another split"]
)
def test_a_damaged_hash_is_computed_again(tmp_path: Path, damage: str) -> None:
    hashes = ContentHashes(tmp_path, 1)
    cached_hash(hashes, seed=0)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.unlink()
    contents = {
        "emptied": b"",
        "cut short": content[:-4],
        "overwritten": b"\xff" * len(content),
        "bit flipped": bytes([content[0] ^ 1]) + content[1:],
    }
    if damage == "of another split":
        cached_hash(hashes, seed=0, test=np.array([3, 5]))
        (other,) = tmp_path.iterdir()
        other.rename(path)
    elif damage != "removed":
        path.write_bytes(contents[damage])
    assert cached_hash(hashes, seed=1) == true_hash(seed=1)
    assert cached_hash(hashes, seed=2) == true_hash(seed=1)


def test_a_hash_of_other_pixels_does_not_count(tmp_path: Path) -> None:
    cached_hash(ContentHashes(tmp_path, crc32=1), seed=0)
    assert cached_hash(ContentHashes(tmp_path, crc32=2), seed=1) == true_hash(seed=1)


def test_without_a_writable_entry_the_hash_is_computed(tmp_path: Path) -> None:
    hashes = ContentHashes(tmp_path / "removed", 1)
    assert [cached_hash(hashes, seed=seed) for seed in (0, 1)] == [true_hash(0), true_hash(1)]


def test_the_hash_with_another_test_split(tmp_path: Path) -> None:
    data, test = a_dataset(), np.array([0, 7])
    assert data.content_hash_with(test) == reference_hash(dataclasses.replace(data, test=test))
    hashes = ContentHashes(tmp_path, 1)
    assert dataclasses.replace(data, hashes=hashes).content_hash_with(test) == data.content_hash_with(test)
    assert len(list(tmp_path.iterdir())) == 1


# Resizing


def test_images_of_that_size_are_returned_unchanged() -> None:
    images = noise(3)
    assert resize(images, 4) is images


@pytest.mark.parametrize("size", [5, 24])
def test_it_resizes_as_pillow_does(size: int) -> None:
    images = noise(6, side=12)
    for image, resized in zip(images, resize(images, size), strict=True):
        other = Image.fromarray(image.transpose(1, 2, 0)).resize((size, size), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(resized.transpose(1, 2, 0).astype(int), np.asarray(other).astype(int), atol=1)


def test_memory_mapped_images_are_resized_without_a_warning(tmp_path: Path) -> None:
    images = noise(300, side=8)  # more than are resized at once
    np.save(tmp_path / "images.npy", images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resized = resize(np.load(tmp_path / "images.npy", mmap_mode="c"), 4)
    np.testing.assert_array_equal(resized, np.concatenate([resize(image[None], 4) for image in images]))


def test_images_larger_than_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__)
    images = np.zeros((10, 3, 8, 8), np.uint8)
    assert resize(images, 256).shape == (10, 3, 256, 256)  # 1.97 MB of 4.1
    with pytest.raises(UsageError, match="smaller --image-size"):
        resize(images, 264)


def test_statistics_and_hash_hold_few_images_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    images = np.zeros((256, 3, 224, 224), np.uint8)  # 38 MB
    indices = np.arange(256)
    tracemalloc.start()
    try:
        mean_and_std(images, indices)
        content_hash(("one",), images, np.zeros(256, np.int64), indices)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: ...")])
def test_a_lack_of_memory_names_the_image_size(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def interpolate(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(torch.nn.functional, "interpolate", interpolate)
    with pytest.raises(UsageError, match="not enough memory for 3 images of 4x4: use a smaller --image-size"):
        resize(noise(3, side=8), 4)
