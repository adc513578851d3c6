"""A confusion matrix: counts in the cells, the share of the true class as their colour."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from era_cli.reports import style

CELL = 0.52  # inches a side, with few classes
SMALL_CELL = 0.2  # with many: a count of three digits still fits at 5 points
FEW, MANY = 12, 40  # classes; in between the cells shrink
LONGEST_NAME = 24  # characters
BRIGHTNESS = 0.5  # exponent of the colour scale: a confusion of 2 % must be seen beside a hit of 95 %


def confusion_matrix(counts: npt.NDArray[np.int64], classes: tuple[str, ...], header: str) -> Figure:
    """Draws `counts` (K, K), true classes in rows and predicted ones in columns; empty cells stay blank."""
    count = len(classes)
    cell = float(np.interp(count, (FEW, MANY), (CELL, SMALL_CELL)))
    points = float(np.interp(count, (FEW, MANY), (9.5, 5.0)))
    support = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    names = [style.label(name, LONGEST_NAME) for name in classes]
    with style.look():
        side = count * cell
        figure = Figure(figsize=(side + 3.2, side + 2.0), layout="constrained")
        axes = figure.add_subplot(xlabel="predicted", ylabel="true")
        large = max(1.0, min(2.2, side / 8))  # a large figure is looked at from further away
        axes.xaxis.label.set_fontsize(10 * large)
        axes.yaxis.label.set_fontsize(10 * large)
        norm = PowerNorm(BRIGHTNESS, 0, 1)
        image = axes.imshow(shares, cmap="Blues", norm=norm, aspect="equal")
        rotation = 45 if count <= MANY else 90
        axes.set_xticks(
            range(count),
            names,
            rotation=rotation,
            ha="right" if rotation == 45 else "center",
            rotation_mode="anchor" if rotation == 45 else "default",
        )
        axes.set_yticks(range(count), names)
        axes.tick_params(length=0, labelsize=max(points, 6.0))
        axes.grid(False)
        for true, predicted in zip(*np.nonzero(counts), strict=True):
            axes.text(
                predicted,
                true,
                f"{counts[true, predicted]}",
                ha="center",
                va="center",
                fontsize=points,
                color="white" if norm(shares[true, predicted]) > 0.6 else style.INK,
            )
        bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02, label="share of the true class")
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
        bar.ax.yaxis.label.set_fontsize(10 * large)
        bar.ax.tick_params(labelsize=10 * large)
        figure.suptitle(style.plain(header), x=0.01, ha="left", fontsize=12 * large, fontweight="bold")
    return figure
