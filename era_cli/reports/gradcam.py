"""What a network looked at: images beside their class activation maps."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from era_cli.reports import sheet, style
from era_cli.reports.sheet import Sheet, full_columns
from era_cli.results import Heatmaps

COLORS = "jet"
SHAPE = 1.5  # width to height of the figure, about that of a slide
BLOCK_GAP = 34  # pixels between one image's maps and the next image
BAR, BAR_ROOM = 18, 110  # pixels: the width of the colour bar, and of it with its labels


def heatmaps(found: Heatmaps, about: str, alpha: float) -> Figure:
    """Draws a block for each image: itself, and itself under each of its maps, which have the opacity `alpha`.

    Args:
        about: the run and the images, for the header.
    """
    cells = 1 + len(found.roles)
    count = min(len(found), sheet.MOST // cells)
    side = sheet.enlarged(found.images.shape[1])
    across = cells * (side + sheet.GAP) - sheet.GAP + BLOCK_GAP
    down = side + sheet.GAP + sheet.TITLE + sheet.NOTE
    columns = full_columns(count, across / down, SHAPE)
    rows = math.ceil(count / columns)
    scaled, empty = found.scaled, found.empty
    with style.look():
        page = Sheet(columns * across + BAR_ROOM, rows * down, f"{about}: {_what(found)}", _notes(found, count))
        for row in range(count):
            # Down the first column, then the next, as one reads a table.
            left = sheet.GAP + (row // rows) * across
            top = (row % rows + 1) * down - side - sheet.GAP
            image = found.images[row]
            actual = "" if found.labels is None else f"actual: {found.classes[found.labels[row]]}"
            page.image(left, top, side, image, [Path(found.name(row)).name], actual)
            for column in range(len(found.roles)):
                left += side + sheet.GAP
                if column and found.targets[row, column] == found.targets[row, 0]:
                    page.remark(left, top, side, "the same class")
                    continue
                page.image(left, top, side, image, *_title(found, row, column))
                if empty[row, column]:
                    page.remark(left, top, side, "no map")
                else:
                    page.overlay(left, top, side, scaled[row, column], COLORS, alpha)
        if count:
            _bar(page, columns * across, rows * down, found.by_class)
        return page.finished()


def _title(found: Heatmaps, row: int, column: int) -> tuple[list[str], str]:
    target = found.targets[row, column]
    name = found.classes[target]
    if not found.by_class:
        return ["any class"], f"{found.roles[column]}: {name}"
    return [name], f"{found.roles[column]}, {found.probabilities[row, target]:.1%}"


def _what(found: Heatmaps) -> str:
    smoothed = {"none": "", "aug": ", augmentation smoothing", "eigen": ", eigen smoothing"}
    smooth = smoothed.get(found.smooth, ", augmentation and eigen smoothing")
    height, width = found.maps.shape[-2:]
    size = f" ({width}x{height})" if len(found) else ""
    return f"{found.method} at {found.layer}{size}{smooth}"


def _notes(found: Heatmaps, count: int) -> list[str]:
    if not count:
        return []
    notes = ["each map is scaled to its own maximum"]
    if count < len(found):
        notes[0] += f"; {count:,} of {len(found):,} images shown"
    if (worth := found.faithfulness) is not None:
        notes.append(
            f"replacing its hottest {worth.share:.0%} of pixels changes the {found.roles[0]} class's probability by"
            f" {_points(worth.hottest)} points, random ones by {_points(worth.random)}"
            f" (mean of {worth.count})"
        )
    return notes


def _points(loss: float) -> str:
    return f"{round(-100 * loss, 1) + 0.0:+.1f}"


def _bar(page: Sheet, left: int, height: int, by_class: bool) -> None:
    top = sheet.TITLE + sheet.NOTE
    axes = page.small_axes(left, top, BAR, min(height - top - sheet.GAP, 600))
    bar = page.figure.colorbar(ScalarMappable(cmap=COLORS), cax=axes)
    bar.set_ticks([0, 1], labels=["0", "max"])
    bar.set_label("speaks for the class" if by_class else "stands out")
    bar.outline.set_visible(False)
