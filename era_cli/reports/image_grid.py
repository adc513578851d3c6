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
    notes: Sequence[Sequence[str]] | None = None,
    columns: int | None = None,
) -> Figure:
    """Draws images (N, H, W, 3) uint8 at their own colours, their pixels not interpolated, `columns` in a row.

    Args:
        titles: for each image the names above it, separated by a slash; below each other where one is too long.
        header_notes: lines below the header.
        notes: for each image the lines below its title.
        columns: None for as many as give the figure about the shape of a slide.
    """
    count = len(images)
    side = sheet.enlarged(images.shape[1])
    notes = notes or [()] * count
    with style.look():
        widest = style.widest({sheet.ONE_LINE.join(title) for title in titles}, sheet.NAME_SIZE) / style.PIXEL
        stacked = widest > side + sheet.GAP / 2 and any(len(title) > 1 for title in titles)
        lines = max(map(len, notes), default=0) + stacked
        across, down = side + sheet.GAP, side + sheet.GAP + sheet.TITLE + lines * sheet.NOTE
        columns = max(1, min(columns or full_columns(count, across / down, SHAPE), count))
        rows = math.ceil(count / columns)
        separator = sheet.STACKED if stacked else sheet.ONE_LINE
        grid = Sheet(columns * across + sheet.GAP, rows * down, header, header_notes, separator)
        for place, (image, title, lines_below) in enumerate(zip(images, titles, notes, strict=True)):
            row, column = divmod(place, columns)
            top = (row + 1) * down - side - sheet.GAP
            grid.image(sheet.GAP + column * across, top, side, image, title, *lines_below)
        return grid.finished()
