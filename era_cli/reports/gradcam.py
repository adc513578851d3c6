"""Images beside their class activation maps: what a network looked at."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from era_cli.choices import Smoothing
from era_cli.reports import sheet, style
from era_cli.reports.sheet import Sheet, full_columns
from era_cli.results import Heatmaps
from era_cli.text import plural, signed_points

COLORS = "jet"
SHAPE = 1.5  # width to height of the figure, about that of a slide
BLOCK_GAP = 34  # pixels between one image's maps and the next image
BAR, BAR_ROOM = 18, 110  # pixels: the width of the colour bar, and of it with its labels

_SMOOTHED = {
    Smoothing.NONE: "",
    Smoothing.AUG: ", augmentation smoothing",
    Smoothing.EIGEN: ", eigen smoothing",
    Smoothing.BOTH: ", augmentation and eigen smoothing",
}


def heatmaps(heatmaps: Heatmaps, about: str, alpha: float) -> Figure:
    """Draws a block per image: the image alone, then under each of its maps, which have the opacity `alpha`.

    Args:
        about: the run and the images, for the header.
    """
    cells = 1 + len(heatmaps.roles)
    count = min(len(heatmaps), sheet.MOST // cells)
    side = sheet.enlarged(heatmaps.images.shape[1])
    across = cells * (side + sheet.GAP) - sheet.GAP + BLOCK_GAP
    down = side + sheet.GAP + sheet.TITLE + sheet.NOTE
    columns = full_columns(count, across / down, SHAPE)
    rows = math.ceil(count / columns)
    scaled, empty = heatmaps.scaled, heatmaps.empty
    with style.look():
        header = f"{about}: {_description(heatmaps)}"
        blocks = Sheet(columns * across + BAR_ROOM, rows * down, header, _notes(heatmaps, count))
        for row in range(count):
            # Down the first column, then the next, as one reads a table.
            left = sheet.GAP + (row // rows) * across
            top = (row % rows + 1) * down - side - sheet.GAP
            image = heatmaps.images[row]
            true = "" if heatmaps.labels is None else f"true: {heatmaps.classes[heatmaps.labels[row]]}"
            blocks.image(left, top, side, image, [Path(heatmaps.image_name(row)).name], true)
            for column in range(len(heatmaps.roles)):
                left += side + sheet.GAP
                if column and heatmaps.targets[row, column] == heatmaps.targets[row, 0]:
                    blocks.remark(left, top, side, "same class")
                    continue
                blocks.image(left, top, side, image, *_title(heatmaps, row, column))
                if empty[row, column]:
                    blocks.remark(left, top, side, "no map")
                else:
                    blocks.overlay(left, top, side, scaled[row, column], COLORS, alpha)
        if count:
            _bar(blocks, columns * across, rows * down, heatmaps.by_class)
        return blocks.finished()


def _title(heatmaps: Heatmaps, row: int, column: int) -> tuple[list[str], str]:
    target = heatmaps.targets[row, column]
    name = heatmaps.classes[target]
    if not heatmaps.by_class:
        return ["any class"], f"{heatmaps.roles[column]}: {name}"
    return [name], f"{heatmaps.roles[column]}, {heatmaps.probabilities[row, target]:.1%}"


def _description(heatmaps: Heatmaps) -> str:
    height, width = heatmaps.maps.shape[-2:]
    size = f" ({width}x{height})" if len(heatmaps) else ""
    return f"{heatmaps.method.proper_name} at {heatmaps.layer}{size}{_SMOOTHED[heatmaps.smooth]}"


def _notes(heatmaps: Heatmaps, count: int) -> list[str]:
    if not count:
        return []
    notes = ["each map is scaled to its own maximum"]
    if count < len(heatmaps):
        notes[0] += f"; {count:,} of {plural(len(heatmaps), 'image')} shown"
    if (faithfulness := heatmaps.faithfulness) is not None:
        notes.append(
            f"replacing the hottest {faithfulness.share:.0%} of pixels changes the probability of the"
            f" {heatmaps.roles[0]} class by {signed_points(-faithfulness.hottest)} points, random pixels by"
            f" {signed_points(-faithfulness.random)} (mean of {faithfulness.count})"
        )
    return notes


def _bar(blocks: Sheet, left: int, height: int, by_class: bool) -> None:
    top = sheet.TITLE + sheet.NOTE
    axes = blocks.small_axes(left, top, BAR, min(height - top - sheet.GAP, 600))
    bar = blocks.figure.colorbar(ScalarMappable(cmap=COLORS), cax=axes)
    bar.set_ticks([0, 1], labels=["0", "max"])
    bar.set_label("evidence for the class" if by_class else "activation")
    bar.outline.set_visible(False)
