"""A grid of images, each under its title."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from era_cli.reports import sheet, style
from era_cli.reports.sheet import Sheet, full_columns
from era_cli.results import Images, Mistakes, Samples

SAMPLE_COLUMNS = 8
SHAPE = 1.6  # width to height of a grid whose columns nobody named, about that of a slide


def image_grid(
    images: Images,
    titles: Sequence[Sequence[str]],
    header: str,
    *,
    header_notes: Sequence[str] = (),
    notes: Sequence[str] | None = None,
    columns: int | None = None,
) -> Figure:
    """Draws images (N, H, W, 3) uint8 at their own colours, their pixels not smeared, `columns` in a row.

    Args:
        titles: of each image the names over it, parted by a slash.
        header_notes: lines below the header.
        notes: a line below each title.
        columns: None is as many as make the figure about as wide as a slide.
    """
    count = len(images)
    side = sheet.enlarged(images.shape[1])
    across, down = side + sheet.GAP, side + sheet.GAP + sheet.TITLE + (sheet.NOTE if notes is not None else 0)
    columns = max(1, min(columns or full_columns(count, across / down, SHAPE), count))
    rows = math.ceil(count / columns)
    with style.look():
        page = Sheet(columns * across + sheet.GAP, rows * down, header, header_notes)
        for place, (image, title) in enumerate(zip(images, titles, strict=True)):
            row, column = divmod(place, columns)
            top = (row + 1) * down - side - sheet.GAP
            page.image(sheet.GAP + column * across, top, side, image, title, "" if notes is None else notes[place])
        return page.finished()


def training_samples(samples: Samples) -> Figure:
    """What the network sees while it trains: augmented images and their labels."""
    titles = [[samples.classes[label]] for label in samples.labels]
    header = "Training images as the network sees them"
    if samples.augmentation:
        header += f": {samples.augmentation}"
    return image_grid(samples.images, titles, header, columns=SAMPLE_COLUMNS)


def mistakes(images: Images, found: Mistakes, about: str, columns: int | None = None) -> Figure:
    """Draws the first N of `found`, `images` (N, H, W, 3), under predicted and actual class and the confidence.

    Args:
        about: the run and the images that were judged, for the header.
    """
    images, names = images[: sheet.MOST], found.classes
    count = len(images)
    share = f"{found.total:,} of {found.judged:,} ({found.total / found.judged:.2%})"
    header = f"{about}: {share} {'labels are suspect' if found.suspects else 'are wrong'}"
    if found.which:
        header += f"; {len(found):,} {found.which}"
    note = "suggested / label" if found.suspects else "predicted / actual"
    note += f", confidence below; {found.how}"
    if count < len(found):
        note += f"; {count:,} of {len(found):,} shown"
    titles = [(names[found.answers[row]], names[found.labels[row]]) for row in range(count)]
    notes = [f"{confidence:.1%}" for confidence in found.confidence[:count]]
    return image_grid(images, titles, header, header_notes=[note] if count else [], notes=notes, columns=columns)
