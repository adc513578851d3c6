"""Loads the dataset that --data names. Loads no torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from era_cli.core.data import cifar10, digits, folder
from era_cli.core.data.dataset import Dataset
from era_cli.errors import EraError, UsageError
from era_cli.files import expanded
from era_cli.listener import Listener
from era_cli.text import did_you_mean

DEFAULT_IMAGE_SIZE = 32
NAMED = ("cifar10", "digits")


def load(
    source: str,
    *,
    image_size: int | None,
    data_dir: Path | None,
    strict: bool,
    listener: Listener,
) -> Dataset:
    """Loads `cifar10`, `digits` or the folder at the path `source`.

    Args:
        strict: refuse a folder with an unreadable image instead of skipping the image.

    Raises:
        UsageError: there is no such source.
        EraError: the data are absent or damaged.
    """
    size = image_size or DEFAULT_IMAGE_SIZE
    if source == "cifar10":
        return cifar10.load(size, data_dir, listener)
    if source == "digits":
        return digits.load(size)
    return folder.load(_existing(source), size, strict, listener)


def check(source: str) -> None:
    """Refuses a folder that cannot be trained on, as far as that can be told without reading an image.

    Raises:
        UsageError: there is no such source.
        EraError: it does not hold a folder per class.
    """
    if source not in NAMED:
        folder.check(_existing(source))


def check_all(source: str, classes: tuple[str, ...]) -> None:
    """Refuses a folder that `load_all` would, as far as that can be told without reading an image.

    Raises:
        UsageError: there is no such source.
        EraError: it holds other classes.
    """
    if source not in NAMED:
        folder.check_all(_existing(source), classes)


def _existing(source: str) -> Path:
    if not source:
        raise UsageError("--data is empty: it takes cifar10, digits, or a folder of class folders")
    path = expanded(Path(source))
    if not path.is_dir():
        if path.is_file():
            raise UsageError(f"--data {source} is a file: name the folder that holds the class folders")
        raise UsageError(
            f"there is no folder {source!r}: --data takes cifar10, digits, or a folder of class folders"
            + did_you_mean(source, NAMED)
        )
    return path.resolve()


def load_all(
    source: str, classes: tuple[str, ...], *, image_size: int, data_dir: Path | None, listener: Listener
) -> Dataset:
    """The test images of a source, or all images of a folder without splits, labelled by index in `classes`.

    Raises:
        UsageError: there is no such source.
        EraError: the data are absent or damaged, or have other classes.
    """
    if source not in NAMED:
        return folder.load_all(_existing(source), classes, image_size, listener)
    dataset = load(source, image_size=image_size, data_dir=data_dir, strict=False, listener=listener)
    if foreign := sorted(set(dataset.classes) - set(classes)):
        raise EraError(
            f"{source} has a class {foreign[0]!r} that the run does not have: name data with the run's classes"
        )
    label = np.array([classes.index(name) for name in dataset.classes], np.int64)
    return dataclasses.replace(dataset, classes=classes, labels=label[dataset.labels])


def resolved(source: str) -> str:
    """The source as `Dataset.source` has it: a folder by its absolute path."""
    path = expanded(Path(source))
    return source if source in NAMED or not path.is_dir() else str(path.resolve())
