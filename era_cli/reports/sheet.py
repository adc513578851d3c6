"""A figure of images under titles, laid out in whole pixels: every image pixel is drawn at the same size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.text import Text

from era_cli.reports import style
from era_cli.results import Images
from era_cli.text import without_controls

Heat = npt.NDArray[np.floating]

GAP = 14  # pixels between images, and around everything
TITLE = 34  # above an image, for its title
NOTE = 26  # and for a second line, if it has one
CELL = 224  # about what an image is enlarged to
MOST = 400  # images on a sheet: nobody looks at more, and drawing them is slow
NAME_SIZE, SMALLEST_NAME, NOTE_SIZE = 9.5, 7.0, 8.5  # points
NARROWEST = 640  # pixels that a header may take without wrapping
HEADER_SIZE, HEADER_NOTE_SIZE = 12.0, 9.5
ONE_LINE, STACKED = " / ", " /\n"  # between the names of a title
MOST_COLUMNS = 10  # of a grid of automatic columns
EMPTY = 9  # what a grid of empty cells weighs against a shape e times too wide: 25 are 5x5, not 7x4


def enlarged(side: int) -> int:
    """The pixels that an image of `side` pixels is drawn with: the whole multiple closest to CELL."""
    return side * max(1, round(CELL / side))


def full_columns(count: int, cell: float, shape: float) -> int:
    """The columns, MOST_COLUMNS at most, for a nearly full grid of `count` cells, each of shape `cell` (width/height).

    The grid has about the shape `shape`.
    """

    def awkwardness(columns: int) -> float:
        rows = math.ceil(count / columns)
        return abs(math.log(columns * cell / (rows * shape))) + EMPTY * (1 - count / (columns * rows))

    return min(range(1, min(count, MOST_COLUMNS) + 1), key=awkwardness, default=1)


class Sheet:
    """A figure of `width` by `height` pixels below its header, which wraps; wider if a word of the header is.

    `axes` spans the whole figure in pixels: x from its left edge, y downwards from below the header.

    Args:
        notes: fainter lines below the header.
        separator: between the names of a title.
    """

    def __init__(
        self, width: int, height: int, header: str, notes: Sequence[str] = (), separator: str = ONE_LINE
    ) -> None:
        self._separator = separator
        # A text's size does not depend on its figure's, but a renderer as large as this figure is slow to create.
        self._renderer = FigureCanvasAgg(Figure(figsize=(1, 1))).get_renderer()
        self.figure = Figure()
        lines = [self.figure.suptitle(without_controls(header), fontsize=HEADER_SIZE, fontweight="bold")]
        for note in notes:
            lines.append(self.figure.text(0, 0, without_controls(note), fontsize=HEADER_NOTE_SIZE, color=style.FAINT))
        for line in lines:
            style.wrap(line, max(width, NARROWEST) - 2 * GAP, self._renderer)
        heights = [round(line.get_window_extent(self._renderer).height) + GAP // 2 for line in lines]
        width = max(width, *(round(self._width(line)) + 2 * GAP for line in lines))
        above = 2 * GAP + sum(heights)
        self.figure.set_size_inches(width * style.PIXEL, (above + height) * style.PIXEL)
        for place, line in enumerate(lines):
            top = GAP + sum(heights[:place])
            line.set(position=(GAP / width, 1 - top / (above + height)), ha="left", va="top")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set(xlim=(0, width), ylim=(height, -above))
        self._names: list[tuple[Text, list[str], float]] = []
        self._notes: list[tuple[Text, float]] = []

    def image(self, left: int, top: int, side: int, image: Images, title: Sequence[str], *notes: str) -> None:
        """Draws an image (H, W, 3), its pixels not interpolated, below its title: names separated by a slash.

        Between them are `notes`, a line for each that is not empty.
        """
        self.axes.imshow(image, interpolation="nearest", extent=(left, left + side, top + side, top), aspect="auto")
        middle, bottom = left + side / 2, top - 9
        for note in filter(None, reversed(notes)):
            line = self.axes.text(middle, bottom, without_controls(note), ha="center", va="baseline", color=style.FAINT)
            self._notes.append((line, side + GAP / 2))
            bottom -= NOTE
        name = self.axes.text(middle, bottom, "", ha="center", va="baseline", fontsize=NAME_SIZE)
        self._names.append((name, [without_controls(name) for name in title], side + GAP / 2))

    def overlay(self, left: int, top: int, side: int, heat: Heat, colors: Colormap) -> None:
        """Overlays a map (h, w) in 0..1 on the image there, enlarged smoothly."""
        self.axes.imshow(
            heat,
            cmap=colors,
            vmin=0,
            vmax=1,
            interpolation="catrom",  # smooth, and unlike "bicubic" it keeps the maximum a maximum
            extent=(left, left + side, top + side, top),
            aspect="auto",
        )

    def remark(self, left: int, top: int, side: int, text: str) -> None:
        """Writes a word or two in the middle of the image there."""
        self.axes.text(
            left + side / 2, top + side / 2, text, ha="center", va="center", backgroundcolor="white", fontsize=NOTE_SIZE
        )

    def small_axes(self, left: int, top: int, width: int, height: int) -> Axes:
        """Additional axes on a part of the sheet."""
        box = self.axes.transData.transform([(left, top + height), (left + width, top)])
        (x0, y0), (x1, y1) = self.figure.transFigure.inverted().transform(box)
        return self.figure.add_axes((x0, y0, x1 - x0, y1 - y0))

    def finished(self) -> Figure:
        """The figure, its texts fitted above their images: titles of one size, and what is still too long truncated."""
        size = NAME_SIZE
        for text, names, room in self._names:
            text.set_text(self._separator.join(names))
            size = min(size, max(SMALLEST_NAME, NAME_SIZE * room / max(self._width(text), room)))
        for text, names, room in self._names:
            text.set_fontsize(size)
            if self._width(text) > room:
                self._shorten(text, names, room)
        for note, room in self._notes:
            note.set_fontsize(min(size, NOTE_SIZE))
            self._elide(note, room)
        return self.figure

    def _elide(self, note: Text, room: float) -> None:
        """Shortens a note that is too wide, but not at its end: that of a file's name tells most."""
        whole = note.get_text()
        kept = len(whole)
        while self._width(note) > room and kept > 1:
            kept -= 1
            note.set_text(f"{whole[: kept // 4]}…{whole[len(whole) - (kept - kept // 4) :]}")

    def _shorten(self, text: Text, names: list[str], room: float) -> None:
        """Truncates each name to the most characters that fit, found by bisection."""
        fits, too_many = 1, max(map(len, names))
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            text.set_text(self._separator.join(style.label(name, middle) for name in names))
            fits, too_many = (fits, middle) if self._width(text) > room else (middle, too_many)
        text.set_text(self._separator.join(style.label(name, fits) for name in names))

    def _width(self, text: Text) -> float:
        return text.get_window_extent(self._renderer).width
