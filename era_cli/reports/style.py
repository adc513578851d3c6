"""The look that all figures share, and how they are written."""

from __future__ import annotations

import contextlib
import io
import math
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axis import Axis
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image

from era_cli.files import atomic_write, make_folder
from era_cli.regular_file import open_regular
from era_cli.text import without_controls

DPI = 150
PIXEL = 1 / DPI  # inches
INK = "#222222"
FAINT = "#767676"  # the lightest grey that is legible on white (WCAG 2.1, contrast 4.5)
GRID = "#E4E4E4"
# Okabe and Ito 2008, "Color Universal Design": told apart by every kind of colour vision.
BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY)
HEADER_SIZE, SMALLEST_HEADER = 12.0, 8.0  # points
MOST_LABELLED = 100  # high / low of a logarithmic axis, up to which 2 and 5 are labelled, too
FEWEST, MOST = 1e-3, 1e4  # of a logarithmic axis that is labelled in decimals
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LONGEST_TITLE = 18  # characters that fit over one image of a grid

# Scripts that matplotlib's own font lacks are drawn by the first of these that the system has.
_OTHER_SCRIPTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Sans Devanagari",
    "Nirmala UI",
    "Noto Sans Thai",
    "Noto Sans Hebrew",
    "Noto Sans Arabic",
)

_LOOK: Any = {  # matplotlib's stubs want literal keys
    "figure.dpi": DPI,  # as it is saved: what fits when it is measured fits in the file
    "font.size": 10.0,
    "text.color": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "figure.constrained_layout.use": False,  # each figure says for itself how it is laid out
    "figure.autolayout": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a class named $x$ is a name, not a formula
}


@contextlib.contextmanager
def look() -> Iterator[None]:
    """The look, for drawing and for writing; the rest of the process keeps its own settings."""
    installed = set(font_manager.get_font_names())
    families = ["DejaVu Sans", *(name for name in _OTHER_SCRIPTS if name in installed)]
    with mpl.rc_context({**_LOOK, "font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph|Matplotlib currently does not support")
        yield


def save(figure: Figure, path: Path) -> None:
    """Fixes the layout of the figure and writes it to `path` in the format of its suffix, whole or not at all.

    Creates the folder of `path`. A PNG keeps the figure's label, which `label_of` reads.

    Raises:
        EraError: it cannot be written.
    """
    make_folder(path.parent)
    drawn = io.BytesIO()
    with look():
        # Laid out here: savefig would draw everything a second time for it.
        if figure.axes and (layout := figure.get_layout_engine()) is not None:
            layout.execute(figure)
            figure.set_layout_engine(None)
        kind = path.suffix.removeprefix(".")
        # zlib's own level takes twice as long for a file 8 % smaller.
        png: dict[str, Any] = {
            "pil_kwargs": {"compress_level": 4},
            "metadata": {"Description": str(figure.get_label())},
        }
        figure.savefig(drawn, format=kind, dpi=DPI, **(png if kind == "png" else {}))
    with atomic_write(path) as file:
        file.write(drawn.getbuffer())


def label_of(path: Path) -> str:
    """The label of the figure that `save` wrote as a PNG; empty if there is none."""
    try:
        with open_regular(path) as file, Image.open(file, formats=["PNG"]) as image:
            return str(image.info.get("Description", ""))
    except OSError:  # damaged, or not an image
        return ""


def header(figure: Figure, text: str, size: float = HEADER_SIZE) -> None:
    """Writes `text` at the top, on several lines where the figure is too narrow for it.

    A word that does not fit becomes smaller, and in the end truncated.
    """
    shown = figure.suptitle(without_controls(text), x=0.01, ha="left", fontsize=size, fontweight="bold")
    room = 0.97 * figure.bbox.width
    wrap(shown, room)
    while shown.get_window_extent().width > room and size > SMALLEST_HEADER:
        size -= 0.5
        shown.set_fontsize(size)
    while shown.get_window_extent().width > room and len(shown.get_text()) > 1:
        shown.set_text(shown.get_text().removesuffix("…")[:-1] + "…")


def label(name: str, longest: int = LONGEST_TITLE) -> str:
    """A name for its place in a figure: without controls and short enough."""
    shown = without_controls(name)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def unbroken(name: str) -> str:
    """A name that `wrap` keeps on one line."""
    return name.replace(" ", "\N{NO-BREAK SPACE}")


def wrap(line: Text, room: float, renderer: RendererBase | None = None) -> None:
    """Wraps a line wider than `room` pixels at its spaces; a wider word stays whole."""
    text, width = line.get_text(), line.get_window_extent(renderer).width
    characters = len(text)
    while width > room and characters > max(map(len, text.split(" "))):
        characters -= 1
        line.set_text(textwrap.fill(text, characters, break_long_words=False, break_on_hyphens=False))
        width = line.get_window_extent(renderer).width


def widest(texts: Iterable[str], points: float) -> float:
    """The width of the longest text in inches; 0 without any."""
    figure = Figure()
    shown = (figure.text(0, 0, without_controls(text), fontsize=points) for text in texts)
    return max((text.get_window_extent().width for text in shown), default=0.0) / figure.dpi


def log_axis(axis: Axis, low: float, high: float) -> None:
    """Labels a logarithmic axis from `low` to `high`, all in one notation: 0.01, 0.1, 1 or powers of ten.

    Matplotlib's own labels are math text, which the look turns off.
    """
    wide = high / low > MOST_LABELLED
    axis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5), numticks=12))
    axis.set_major_formatter(FuncFormatter(_plain if low >= FEWEST and high < MOST else _power))
    axis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: object) -> str:
    return f"{value:g}"


def _power(value: float, _: object) -> str:
    exponent = math.floor(math.log10(value) + 1e-9)
    digit = round(value / 10**exponent)
    return ("" if digit == 1 else f"{digit}\N{DOT OPERATOR}") + "10" + str(exponent).translate(_RAISED)
