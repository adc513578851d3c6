"""What `era fit` trains on: augmented images under their labels."""

from __future__ import annotations

from matplotlib.figure import Figure

from era_cli.reports.image_grid import image_grid
from era_cli.results import Samples

COLUMNS = 8


def training_samples(samples: Samples, run: str) -> Figure:
    """Draws the images as the network of `run` sees them while it trains."""
    titles = [[samples.classes[label]] for label in samples.labels]
    header = f"{run}, training images as the network sees them"
    if samples.augmentation:
        header += f": {samples.augmentation}"
    return image_grid(samples.images, titles, header, columns=COLUMNS)
