"""What a network looked at: images beside their class activation maps."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from era_cli.reports import sheet, style
from era_cli.reports.sheet import Sheet
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
    count, cells = len(found), 1 + len(found.roles)
    side = sheet.enlarged(found.images.shape[1]) if count else 0
    across = cells * (side + sheet.GAP) - sheet.GAP + BLOCK_GAP
    down = side + sheet.GAP + sheet.TITLE + sheet.NOTE
    columns = _columns(count, across / down if count else 1.0)
    rows = math.ceil(count / columns)
    scaled, empty = found.scaled, found.empty
    with style.look():
        page = Sheet(columns * across + BAR_ROOM, rows * down, f"{about}: {_what(found)}", _note(found))
        for row in range(count):
            # Down the first column, then the next, as one reads a table.
            left = sheet.GAP + (row // rows) * across
            top = (row % rows) * down + down - side - sheet.GAP
            true = "" if found.labels is None else f"actual: {found.classes[found.labels[row]]}"
            page.image(left, top, side, found.images[row], [found.name(row)], true)
            for column, role in enumerate(found.roles):
                target = found.targets[row, column]
                left += side + sheet.GAP
                title, note = found.classes[target], f"{role}, {found.probabilities[row, target]:.1%}"
                if not found.by_class:
                    title, note = "any class", f"predicted: {title}"
                axes = page.image(left, top, side, found.images[row], [title], note)
                if empty[row, column]:
                    axes.text(0.5, 0.5, "no map", ha="center", va="center", backgroundcolor="white")
                    continue
                axes.imshow(
                    scaled[row, column],
                    cmap=COLORS,
                    vmin=0,
                    vmax=1,
                    alpha=alpha,
                    interpolation="bicubic",
                    extent=(0, 1, 1, 0),
                )
        if count:
            _bar(page, columns * across, rows * down)
        return page.finished()


def _what(found: Heatmaps) -> str:
    smoothed = {"none": "", "aug": ", augmentation smoothing", "eigen": ", eigen smoothing"}
    smooth = smoothed.get(found.smooth, ", augmentation and eigen smoothing")
    height, width = found.maps.shape[-2:]
    return f"{found.method} at {found.layer} ({width}x{height}){smooth}"


def _note(found: Heatmaps) -> str:
    note = "each map is scaled to its own maximum"
    if (worth := found.faithfulness) is not None:
        note += (
            f"; without its hottest {worth.share:.0%} of pixels the {found.roles[0]} class loses"
            f" {100 * worth.hottest:.0f} points of probability, without random ones {100 * worth.random:.0f}"
        )
    return note


def _bar(page: Sheet, left: int, height: int) -> None:
    top = sheet.TITLE + sheet.NOTE
    axes = page.axes(left, top, BAR, min(height - top - sheet.GAP, 600))
    bar = page.figure.colorbar(ScalarMappable(cmap=COLORS), cax=axes)
    bar.set_ticks([0, 1], labels=["0", "max"])
    bar.set_label("speaks for the class")
    bar.outline.set_visible(False)


def _columns(count: int, block: float) -> int:
    """How many blocks, `block` times as wide as high, go side by side so that the figure is about SHAPE."""
    if not count:
        return 1

    def awkwardness(columns: int) -> float:
        rows = math.ceil(count / columns)
        return abs(math.log(columns * block / (rows * SHAPE))) + 2 * (1 - count / (columns * rows))

    return int(np.argmin([awkwardness(columns) for columns in range(1, count + 1)])) + 1
