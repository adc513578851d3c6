"""A confusion matrix: counts in the cells, the fraction of the true class as their colour."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from era_cli.reports import style

CELL = 0.52  # inches a side, with few classes
SMALLEST_SIDE = 4.0  # inches of the matrix: very few classes have larger cells
SMALL_CELL = 0.2  # with many: a count of three digits still fits at 5 points
FEWEST, FEW, MANY = 3, 12, 40  # classes; texts, then the cells, too, shrink in between
MOST = 150  # classes up to which every name and count is shown; the figure grows no further
LONGEST_NAME = 28  # characters of a name
FILLED = 0.8  # of a cell's width, up to which its name need not be rotated
DARK = 0.6  # of the colour scale, from which on white text is legible
BRIGHTNESS = 0.5  # exponent of the colour scale: a 2 % confusion must be visible beside a 95 % diagonal
TICKS = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1)
BAR = 1.15  # inches for the colour bar and its labels
POINTS = 72  # in an inch


def confusion_matrix(counts: npt.NDArray[np.int64], classes: tuple[str, ...], header: str) -> Figure:
    """Draws `counts` (K, K), true classes in rows and predicted ones in columns; empty cells stay blank."""
    count = len(classes)
    cell = float(np.interp(count, (FEW, MANY), (CELL, SMALL_CELL))) * min(1.0, MOST / count)
    cell = max(cell, SMALLEST_SIDE / count)
    points = float(np.interp(count, (FEWEST, FEW, MANY), (13.0, 9.5, 5.0)))
    support = counts.sum(axis=1, keepdims=True)
    fractions = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    every = math.ceil(count / MOST)
    named = range(0, count, every)
    names = [style.label(classes[place], LONGEST_NAME) for place in named]
    upright = count > MANY
    with style.look():
        side = count * cell
        large = max(1.0, min(2.2, side / 8))  # a large figure is viewed from further away
        name_size = max(points, 6.0)
        room = style.widest(names, name_size)
        figure = Figure(figsize=(side + room + 0.8 + BAR * large, side + room * (1.0 if upright else 0.75) + 0.75))
        figure.set_layout_engine("constrained")
        style.header(figure, header, style.HEADER_SIZE * large)
        lines = figure.get_suptitle().count("\n") + 1
        figure.set_figheight(figure.get_figheight() + lines * 1.6 * style.HEADER_SIZE * large / POINTS)
        axes = figure.add_subplot()
        axes.set_xlabel("predicted", fontsize=10 * large)
        axes.set_ylabel("true", fontsize=10 * large)
        norm = PowerNorm(BRIGHTNESS, 0, 1)
        image = axes.imshow(fractions, cmap="Blues", norm=norm, aspect="equal")
        if upright:
            axes.set_xticks(named, names, rotation=90)
        elif room <= FILLED * cell:
            axes.set_xticks(named, names)
        else:
            axes.set_xticks(named, names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(named, names)
        axes.tick_params(length=0, labelsize=name_size)
        axes.grid(False)
        if count <= MANY:
            axes.set_xticks(np.arange(count - 1) + 0.5, minor=True)
            axes.set_yticks(np.arange(count - 1) + 0.5, minor=True)
            axes.grid(which="minor", color="white", linewidth=1.5)
            axes.tick_params(which="minor", length=0)
        for true, predicted in zip(*np.nonzero(counts), strict=True) if count <= MOST else ():
            axes.text(
                predicted,
                true,
                f"{counts[true, predicted]}",
                ha="center",
                va="center",
                fontsize=points,
                color="white" if norm(fractions[true, predicted]) > DARK else style.INK,
            )
        beside = axes.inset_axes((1 + 0.15 / side, 0, 0.2 * large / side, 1))  # as tall as the matrix
        bar = figure.colorbar(image, cax=beside)
        bar.set_label("fraction of true class, square-root scale", fontsize=10 * large)
        bar.set_ticks(TICKS)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
        bar.ax.tick_params(labelsize=10 * large)
    return figure
