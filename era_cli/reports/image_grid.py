"""A grid of images, each under its title."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from era_cli.reports import style
from era_cli.results import Images, Samples

CELL = 1.15  # inches a side
TITLE = 0.26  # inches above each image
HEADER = 0.42  # inches above the grid
GAP = 0.08  # inches between images


def image_grid(images: Images, titles: Sequence[str], header: str, *, columns: int = 8) -> Figure:
    """Draws images (N, H, W, 3) uint8 at their own colours, their pixels not smeared, `columns` in a row."""
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    width, height = columns * (CELL + GAP) + GAP, rows * (CELL + TITLE + GAP) + HEADER
    with style.look():
        figure = Figure(figsize=(width, height))
        above = figure.suptitle(style.plain(header), ha="left", va="top", fontsize=11, fontweight="bold")
        width = max(width, above.get_window_extent().width / figure.dpi + 2 * GAP)
        figure.set_figwidth(width)
        above.set_position((GAP / width, 1 - 0.14 / height))
        for place, (image, title) in enumerate(zip(images, titles, strict=True)):
            row, column = divmod(place, columns)
            left = GAP + column * (CELL + GAP)
            bottom = height - HEADER - (row + 1) * (CELL + TITLE + GAP) + GAP
            axes = figure.add_axes((left / width, bottom / height, CELL / width, CELL / height))
            axes.imshow(image, interpolation="nearest")
            shown = axes.set_title(style.label(title), fontsize=9, pad=3, loc="center", fontweight="normal")
            while shown.get_window_extent().width / figure.dpi > CELL + GAP / 2 and len(shown.get_text()) > 1:
                shown.set_text(shown.get_text().removesuffix("…")[:-1] + "…")
            axes.set_axis_off()
    return figure


def training_samples(samples: Samples) -> Figure:
    """What the network sees while it trains: augmented images and their labels."""
    titles = [samples.classes[label] for label in samples.labels]
    header = "Training images as the network sees them"
    return image_grid(samples.images, titles, f"{header}: {samples.augmentation}" if samples.augmentation else header)
