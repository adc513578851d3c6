"""A figure of images under titles, laid out in whole pixels: every image pixel is drawn at the same size."""

from __future__ import annotations

import math
import textwrap
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


def enlarged(side: int) -> int:
    """The pixels that an image of `side` pixels is drawn with: the whole multiple closest to CELL."""
    return side * max(1, round(CELL / side))


def full_columns(count: int, cell: float, shape: float) -> int:
    """The columns for a nearly full grid of about `shape` (width/height) from `count` cells, each of shape `cell`."""

    def awkwardness(columns: int) -> float:
        rows = math.ceil(count / columns)
        return abs(math.log(columns * cell / (rows * shape))) + 2 * (1 - count / (columns * rows))

    return min(range(1, count + 1), key=awkwardness, default=1)


class Sheet:
    """A figure of `width` by `height` pixels below its header, which wraps; wider if a word of the header is.

    `axes` spans the whole figure in pixels: x from its left edge, y downwards from below the header.

    Args:
        notes: fainter lines below the header.
    """

    def __init__(self, width: int, height: int, header: str, notes: Sequence[str] = ()) -> None:
        # A text's size does not depend on its figure's, but a renderer as large as this figure is slow to create.
        self._renderer = FigureCanvasAgg(Figure(figsize=(1, 1))).get_renderer()
        self.figure = Figure()
        lines = [self.figure.suptitle(without_controls(header), fontsize=HEADER_SIZE, fontweight="bold")]
        for note in notes:
            lines.append(self.figure.text(0, 0, without_controls(note), fontsize=HEADER_NOTE_SIZE, color=style.FAINT))
        for line in lines:
            self._wrap(line, max(width, NARROWEST) - 2 * GAP)
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

    def _wrap(self, line: Text, room: float) -> None:
        """Wraps a line wider than `room` pixels at its spaces; a wider word stays whole."""
        text, measured = line.get_text(), self._width(line)
        characters = len(text)
        while measured > room and characters > max(map(len, text.split())):
            characters -= 1
            line.set_text(textwrap.fill(text, characters, break_long_words=False, break_on_hyphens=False))
            measured = self._width(line)

    def image(self, left: int, top: int, side: int, image: Images, title: Sequence[str], note: str = "") -> None:
        """Draws an image (H, W, 3), its pixels not interpolated, below its title: names separated by a slash."""
        self.axes.imshow(image, interpolation="nearest", extent=(left, left + side, top + side, top), aspect="auto")
        middle, bottom = left + side / 2, top - 9
        if note:
            self.axes.text(
                middle,
                bottom,
                without_controls(note),
                ha="center",
                va="baseline",
                fontsize=NOTE_SIZE,
                color=style.FAINT,
            )
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
        """The figure, its titles fitted above their images: all of one size, and the longest names truncated."""
        size = NAME_SIZE
        for text, names, room in self._names:
            text.set_text(" / ".join(names))
            size = min(size, max(SMALLEST_NAME, NAME_SIZE * room / max(self._width(text), room)))
        for text, names, room in self._names:
            text.set_fontsize(size)
            if self._width(text) > room:
                self._shorten(text, names, room)
        return self.figure

    def _shorten(self, text: Text, names: list[str], room: float) -> None:
        """Truncates each name to the most characters that fit, found by bisection."""
        fits, too_many = 1, max(map(len, names))
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            text.set_text(" / ".join(style.label(name, middle) for name in names))
            fits, too_many = (fits, middle) if self._width(text) > room else (middle, too_many)
        text.set_text(" / ".join(style.label(name, fits) for name in names))

    def _width(self, text: Text) -> float:
        return text.get_window_extent(self._renderer).width
