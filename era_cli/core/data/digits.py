"""The bundled source: scikit-learn's 1,797 scanned digits, which need no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from era_cli.core.data.dataset import Dataset, content_hash, resize
from era_cli.core.data.splits import held_out_test
from era_cli.errors import EraError

BRIGHTEST = 16  # a pixel counts the ink dots in a 4x4 cell (UCI, Alpaydin and Kaynak 1998)
SIDE = 8


def load(image_size: int) -> Dataset:
    """The 8x8 grey digits as (N, 3, image_size, image_size), with a fifth of each class held out as test split."""
    table = _table()
    grey = np.round(table[:, :-1].reshape(-1, SIDE, SIDE) * (255 / BRIGHTEST)).astype(np.uint8)
    images = resize(np.repeat(grey[:, None], 3, axis=1), image_size)
    labels = table[:, -1].astype(np.int64)
    train, test = held_out_test(labels)
    classes = tuple(str(digit) for digit in range(10))
    return Dataset(
        name="digits",
        source="digits",
        classes=classes,
        images=images,
        labels=labels,
        train=train,
        test=test,
        content_hash=content_hash(classes, images, labels, test),
        own_test=False,
        mirrors=False,
    )


def _table() -> npt.NDArray[np.float64]:
    """A row per image: its 64 pixels and its digit. Read from scikit-learn's file, without loading scikit-learn.

    Raises:
        EraError: the file is not where scikit-learn keeps it.
    """
    package = importlib.util.find_spec("sklearn")
    folder = "" if package is None or package.origin is None else Path(package.origin).parent
    file = Path(folder, "datasets", "data", "digits.csv.gz")
    if not file.is_file():
        raise EraError("scikit-learn's digits are not installed: install scikit-learn again")
    return np.loadtxt(file, delimiter=",")
