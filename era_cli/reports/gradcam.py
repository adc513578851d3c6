"""Images beside their class activation maps: what a network looked at."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure

from era_cli.choices import Smoothing
from era_cli.reports import sheet, style
from era_cli.reports.sheet import Sheet, full_columns
from era_cli.results import Heatmaps, Images
from era_cli.text import plural, signed_points

COLORS = "inferno"  # perceptually uniform, and told apart by every kind of colour vision
BEHIND = "#808080"  # what the colour bar is drawn over, in place of an image
SHAPE = 16 / 9  # width to height of the figure, about that of a slide
BLOCK_GAP = 34  # pixels between one image's maps and the next image
BAR, BAR_ROOM = 18, 110  # pixels: the width of the colour bar, and of it with its labels
LARGEST = 800  # pixels: the side of a photo
AREA = 2_500_000  # pixels: of all photos together, so that the titles stay legible on a slide

_SMOOTHED = {Smoothing.NONE: "", Smoothing.AUG: ", augmentation smoothing"}


def photo_side(heatmaps: Heatmaps) -> int:
    """The pixels a side that photos may have in the figure: fewer if there are many, no less than other images."""
    panels = max(1, min(sheet.MOST, len(heatmaps) * (1 + len(heatmaps.roles))))
    return max(sheet.CELL, min(LARGEST, math.isqrt(AREA // panels)))


def label(heatmaps: Heatmaps) -> str:
    """The label of the figure, which tells its images apart from others whose figure has the same name."""
    return hashlib.sha256(heatmaps.images.tobytes()).hexdigest()


def heatmaps(heatmaps: Heatmaps, about: str, alpha: float, photos: Images | None = None) -> Figure:
    """Draws a block per image, row by row: the image alone, then under each of its maps.

    A map is as opaque as it is strong, `alpha` at its maximum, so that the image stays itself where nothing counts.

    Args:
        about: the run and the images, for the header.
        photos: (M, S, S, 3) uint8: the first images in the resolution of their files, if they have one.
    """
    blocks, cells = _blocks(heatmaps)
    blocks = blocks[: sheet.MOST // cells]
    images = heatmaps.images if photos is None else photos
    side = sheet.enlarged(images.shape[1])
    across = cells * (side + sheet.GAP) - sheet.GAP + BLOCK_GAP
    down = side + sheet.GAP + sheet.TITLE + sheet.NOTE
    columns = full_columns(len(blocks), across / down, SHAPE)
    rows = math.ceil(len(blocks) / columns)
    scaled, empty, colors = heatmaps.scaled, heatmaps.empty, _fading(alpha)
    with style.look():
        header = f"{about}: {_description(heatmaps)}"
        count = len({row for row, _ in blocks})
        drawing = Sheet(columns * across + BAR_ROOM, rows * down, header, _notes(heatmaps, count))
        drawing.figure.set_label(label(heatmaps))
        for place, (row, maps) in enumerate(blocks):
            left = sheet.GAP + place % columns * across
            top = (place // columns + 1) * down - side - sheet.GAP
            note = "center crop" if heatmaps.labels is None else f"true: {heatmaps.classes[heatmaps.labels[row]]}"
            drawing.image(left, top, side, images[row], [_name(heatmaps, row)], note)
            for column in maps:
                left += side + sheet.GAP
                if heatmaps.repeated[row, column]:
                    drawing.remark(left, top, side, "same class")
                    continue
                drawing.image(left, top, side, images[row], *_title(heatmaps, row, column))
                if empty[row, column]:
                    drawing.remark(left, top, side, "no map")
                else:
                    drawing.overlay(left, top, side, scaled[row, column], colors)
        if blocks:
            _bar(drawing, columns * across, rows * down, colors)
        return drawing.finished()


def _blocks(heatmaps: Heatmaps) -> tuple[list[tuple[int, list[int]]], int]:
    """The image and the maps of each block, and the cells that a block takes.

    A column of maps that would be empty for most images is left out; the few other images have a second block instead.
    """
    count, columns = heatmaps.repeated.shape
    if heatmaps.repeated[:, -1].sum() <= count / 2:
        return [(row, list(range(columns))) for row in range(count)], 1 + columns
    return [(row, [column]) for row, column in np.argwhere(~heatmaps.repeated)], 2


def _fading(alpha: float) -> Colormap:
    """The colour map, transparent at 0, of opacity `alpha` at 1."""
    strength = np.linspace(0, 1, 256)
    colors = mpl.colormaps[COLORS](strength)
    colors[:, 3] = alpha * strength
    return ListedColormap(colors, name=COLORS)


def _title(heatmaps: Heatmaps, row: int, column: int) -> tuple[list[str], str]:
    target = heatmaps.targets[row, column]
    return [heatmaps.classes[target]], f"{heatmaps.roles[column]}, {heatmaps.probabilities[row, target]:.1%}"


def _description(heatmaps: Heatmaps) -> str:
    height, width = heatmaps.maps.shape[-2:]
    size = f" ({width}x{height})" if len(heatmaps) else ""
    return f"{heatmaps.method.proper_name} at {heatmaps.layer}{size}{_SMOOTHED[heatmaps.smooth]}"


def _notes(heatmaps: Heatmaps, count: int) -> list[str]:
    if not count:
        return []
    notes = ["each map is scaled to its own maximum"]
    if heatmaps.coarse:
        notes[0] += "; coarse maps: an earlier layer has more cells"
    if count < len(heatmaps):
        notes[0] += f"; {count:,} of {plural(len(heatmaps), 'image')} shown"
    if (faithfulness := heatmaps.faithfulness) is not None:
        notes.append(
            f"replacing the hottest {faithfulness.share:.0%} of pixels changes the probability of the"
            f" {heatmaps.roles[0]} class by {signed_points(-faithfulness.hottest)} points, random pixels by"
            f" {signed_points(-faithfulness.random)} ({faithfulness.averaged})"
        )
    return notes


def _bar(drawing: Sheet, left: int, height: int, colors: Colormap) -> None:
    """From the top of the first row of images to the bottom of the last."""
    top = sheet.TITLE + sheet.NOTE
    axes = drawing.small_axes(left, top, BAR, height - top - sheet.GAP)
    axes.set_facecolor(BEHIND)
    axes.imshow(np.linspace(0, 1, 256)[:, None], cmap=colors, extent=(0, 1, 0, 1), origin="lower", aspect="auto")
    axes.set_xticks([])
    axes.yaxis.set_label_position("right")
    axes.yaxis.tick_right()
    axes.set_yticks([0, 1], labels=["0", "max"])
    axes.set_ylabel("evidence for the class")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _name(heatmaps: Heatmaps, row: int) -> str:
    if heatmaps.files is not None:
        return Path(heatmaps.files[row]).name
    return f"index {heatmaps.image_name(row)}"
