"""A grid of images, each under its title."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from era_cli.reports import sheet, style
from era_cli.reports.sheet import Sheet, full_columns
from era_cli.results import Images

SHAPE = 1.6  # width to height of a grid of automatic columns, about that of a slide


def image_grid(
    images: Images,
    titles: Sequence[Sequence[str]],
    header: str,
    *,
    header_notes: Sequence[str] = (),
    notes: Sequence[str] | None = None,
    columns: int | None = None,
) -> Figure:
    """Draws images (N, H, W, 3) uint8 at their own colours, their pixels not interpolated, `columns` in a row.

    Args:
        titles: for each image the names above it, separated by a slash.
        header_notes: lines below the header.
        notes: a line below each title.
        columns: None for as many as give the figure about the shape of a slide.
    """
    count = len(images)
    side = sheet.enlarged(images.shape[1])
    across, down = side + sheet.GAP, side + sheet.GAP + sheet.TITLE + (sheet.NOTE if notes is not None else 0)
    columns = max(1, min(columns or full_columns(count, across / down, SHAPE), count))
    rows = math.ceil(count / columns)
    with style.look():
        grid = Sheet(columns * across + sheet.GAP, rows * down, header, header_notes)
        for place, (image, title) in enumerate(zip(images, titles, strict=True)):
            row, column = divmod(place, columns)
            top = (row + 1) * down - side - sheet.GAP
            grid.image(sheet.GAP + column * across, top, side, image, title, "" if notes is None else notes[place])
        return grid.finished()
