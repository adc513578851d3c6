from __future__ import annotations

import socket
from typing import NoReturn

import numpy as np
import pytest
from sklearn.datasets import load_digits

from era_cli.core.data import digits
from era_cli.core.data.dataset import Dataset


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits.load(8)


def test_there_are_1797_images_of_ten_classes(dataset: Dataset) -> None:
    assert dataset.images.shape == (1797, 3, 8, 8)
    assert dataset.images.dtype == np.uint8
    assert dataset.labels.dtype == np.int64
    assert dataset.classes == tuple("0123456789")
    assert (dataset.name, dataset.source, dataset.files, dataset.skipped) == ("digits", "digits", None, ())


def test_a_mirrored_digit_is_no_digit(dataset: Dataset) -> None:
    assert not dataset.mirrors


def test_a_fifth_of_each_digit_is_held_out(dataset: Dataset) -> None:
    assert (len(dataset.train), len(dataset.test)) == (1438, 359)
    assert sorted([*dataset.train.tolist(), *dataset.test.tolist()]) == list(range(1797))
    all_counts, test_counts = np.bincount(dataset.labels), np.bincount(dataset.labels[dataset.test])
    assert np.abs(test_counts - all_counts * (359 / 1797)).max() < 1


def test_the_scans_use_the_whole_range_in_three_equal_channels(dataset: Dataset) -> None:
    scans = load_digits()
    for channel in range(3):
        np.testing.assert_allclose(dataset.images[:, channel], scans.images * 255 / 16, atol=0.5)
    assert dataset.labels.tolist() == scans.target.tolist()


def test_images_labels_and_split_are_pinned(dataset: Dataset) -> None:
    assert dataset.content_hash == "c71f075a108180c27a6a7ee19e00236b97cfbb61cf3813862d5bec8af6c87baa"


def test_another_image_size_keeps_labels_and_split(dataset: Dataset) -> None:
    large = digits.load(32)
    assert large.images.shape == (1797, 3, 32, 32)
    assert large.image_size == 32
    assert large.labels.tolist() == dataset.labels.tolist()
    assert large.test.tolist() == dataset.test.tolist()


def test_no_network_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the network was asked")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    assert len(digits.load(8).images) == 1797
