"""A figure of images under titles, laid out in whole pixels: each pixel of an image is as large as any other."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from era_cli.reports import style
from era_cli.results import Images

GAP = 14  # pixels between images, and around everything
TITLE = 34  # above an image, of its title
NOTE = 26  # and of a second line, if it has one
CELL = 224  # about what an image is enlarged to
NAME_SIZE, SMALLEST_NAME, NOTE_SIZE = 9.5, 7.0, 8.5  # points


def enlarged(side: int) -> int:
    """The pixels that an image of `side` pixels is drawn with: a whole multiple, as near as may be to CELL."""
    return side * max(1, round(CELL / side))


class Sheet:
    """A figure `width` by `height` pixels below its header; widens for a header that would not fit.

    Args:
        note: a second line below the header, less loud.
    """

    def __init__(self, width: int, height: int, header: str, note: str = "") -> None:
        self.figure = Figure(figsize=(width * style.PIXEL, height * style.PIXEL))
        above = self.figure.suptitle(style.plain(header), ha="left", va="top", fontsize=12, fontweight="bold")
        texts = [above]
        if note:
            texts.append(self.figure.text(0, 0, style.plain(note), va="top", fontsize=9.5, color=style.FAINT))
        boxes = [text.get_window_extent() for text in texts]
        self._top = 2 * GAP + sum(round(box.height) + GAP // 2 for box in boxes)
        self._width = max(width, *(round(box.width) + 2 * GAP for box in boxes))
        self._height = self._top + height
        self.figure.set_size_inches(self._width * style.PIXEL, self._height * style.PIXEL)
        top = GAP
        for text, box in zip(texts, boxes, strict=True):
            text.set_position((GAP / self._width, 1 - top / self._height))
            top += round(box.height) + GAP // 2
        self._titles: list[tuple[Text, Sequence[str], float]] = []

    def axes(self, left: int, top: int, width: int, height: int) -> Axes:
        """Axes at `left` and `top`, from the left edge and from below the header."""
        bottom = self._height - self._top - top - height
        box = (left / self._width, bottom / self._height, width / self._width, height / self._height)
        return self.figure.add_axes(box)

    def image(self, left: int, top: int, side: int, image: Images, title: Sequence[str], note: str = "") -> Axes:
        """Draws an image (H, W, 3), its pixels not smeared, below its title: names that are parted by a slash."""
        axes = self.axes(left, top, side, side)
        axes.set_axis_off()
        axes.imshow(image, interpolation="nearest", extent=(0, 1, 1, 0))
        pad = 3 + (NOTE / style.DPI * 72 if note else 0)
        shown = axes.set_title("", fontsize=NAME_SIZE, pad=pad, loc="center", fontweight="normal")
        self._titles.append((shown, [style.plain(name) for name in title], side + GAP / 2))
        if note:
            axes.annotate(
                style.plain(note),
                (0.5, 1),
                xytext=(0, 3.5),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=NOTE_SIZE,
                color=style.FAINT,
            )
        return axes

    def finished(self) -> Figure:
        """The figure, its titles fitted over their images: all of one size, and the longest names cut short."""
        size = NAME_SIZE
        for text, names, room in self._titles:
            text.set_text(" / ".join(names))
            if (width := text.get_window_extent().width) > room:
                size = max(SMALLEST_NAME, min(size, NAME_SIZE * room / width))
        for text, names, room in self._titles:
            text.set_fontsize(size)
            _fit(text, list(names), room)
        return self.figure


def _fit(text: Text, names: list[str], room: float) -> None:
    """Cuts the longest of the names, again and again, until the text is no wider than `room` pixels."""
    while text.get_window_extent().width > room and max(map(len, names)) > 1:
        longest = max(range(len(names)), key=lambda place: len(names[place]))
        names[longest] = names[longest].removesuffix("…")[:-1] + "…"
        text.set_text(" / ".join(names))
