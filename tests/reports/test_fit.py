from __future__ import annotations

import numpy as np

from era_cli.reports.fit import COLUMNS, training_samples
from era_cli.results import Samples
from tests.reports.support import header, pictures, shown, titles


def test_training_samples_lie_under_their_labels() -> None:
    labels = np.arange(COLUMNS + 2) % 3
    samples = Samples(
        images=pictures(len(labels)), labels=labels, classes=("cat", "dog", "frog"), augmentation="random crop, cutout"
    )
    figure = training_samples(samples, "pets-1")
    assert titles(figure)[:4] == ["cat", "dog", "frog", "cat"]
    assert len({image.get_extent()[0] for image in shown(figure)}) == COLUMNS
    assert header(figure) == "pets-1, training images as the network sees them: random crop, cutout"
