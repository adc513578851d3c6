"""The bundled source: scikit-learn's 1,797 scanned digits, which need no download."""

from __future__ import annotations

import numpy as np

from era_cli.core.data.dataset import Dataset, content_hash, resize
from era_cli.core.data.splits import held_out_test

BRIGHTEST = 16  # a pixel counts the ink dots in a 4x4 cell (UCI, Alpaydin and Kaynak 1998)


def load(image_size: int) -> Dataset:
    """The 8x8 grey digits as (N, 3, image_size, image_size), with a fifth of each class held out as test split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.round(digits.images * (255 / BRIGHTEST)).astype(np.uint8)
    images = resize(np.repeat(grey[:, None], 3, axis=1), image_size)
    labels = digits.target.astype(np.int64)
    train, test = held_out_test(labels)
    classes = tuple(str(digit) for digit in digits.target_names)
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
