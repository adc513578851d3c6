from __future__ import annotations

import socket
from typing import NoReturn

import numpy as np
import pytest
from sklearn.datasets import load_digits

from era_cli.core.data import digits
from era_cli.core.data.dataset import Dataset
from tests.core.data.support import reference_hash


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits.load(8)


def test_the_scans_use_the_full_range_in_equal_channels(dataset: Dataset) -> None:
    scans = load_digits()
    assert dataset.images.shape == (1797, 3, 8, 8)
    assert dataset.images.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_allclose(dataset.images[:, channel], scans.images * 255 / 16, atol=0.5)
    assert dataset.labels.tolist() == scans.target.tolist()
    assert dataset.labels.dtype == np.int64
    assert dataset.classes == tuple("0123456789")
    assert (dataset.name, dataset.source, dataset.files, dataset.skipped) == ("digits", "digits", None, ())
    assert not dataset.mirrors


def test_a_fifth_of_each_digit_is_held_out(dataset: Dataset) -> None:
    assert (len(dataset.train), len(dataset.test)) == (1438, 359)
    assert sorted([*dataset.train.tolist(), *dataset.test.tolist()]) == list(range(1797))
    expected = dataset.class_counts(np.arange(1797)) * (359 / 1797)
    assert np.abs(dataset.class_counts(dataset.test) - expected).max() < 1


@pytest.mark.parametrize(
    ("size", "pinned"),
    [
        (8, "c71f075a108180c27a6a7ee19e00236b97cfbb61cf3813862d5bec8af6c87baa"),
        (32, "11d0deabaa97b7e055464cc6d0cbdb67feeb45633a24ff1d23841a64228d2e04"),
    ],
)
def test_images_labels_and_split_are_pinned(size: int, pinned: str) -> None:
    dataset = digits.load(size)
    assert dataset.image_size == size
    assert dataset.content_hash == pinned == reference_hash(dataset)


def test_no_network_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the network was used")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    assert len(digits.load(8).images) == 1797
