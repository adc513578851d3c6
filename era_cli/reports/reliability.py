"""A reliability diagram above a histogram of confidence."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from era_cli import text
from era_cli.reports import style
from era_cli.results import Calibration

PALEST = 0.15  # opacity of a bin with hardly an image in it


def reliability_diagram(calibration: Calibration, about: str | None) -> Figure:
    """Draws the accuracy of each confidence bin against the diagonal, and the fraction of images in each bin.

    A bin is the more opaque the more images it holds: the accuracy of a few says little.

    Args:
        about: the run and the images that were evaluated, for the header; None for no header.
    """
    bins = len(calibration.counts)
    edges = np.linspace(0, 1, bins + 1)
    middles, width = (edges[:-1] + edges[1:]) / 2, 1 / bins
    filled = calibration.counts > 0
    accuracy, confidence = calibration.accuracy[filled], calibration.confidence[filled]
    # By the root, as the standard error of a bin's accuracy goes.
    opacity = PALEST + (1 - PALEST) * np.sqrt(calibration.counts[filled] / calibration.counts.max())
    with style.look():
        figure = Figure(figsize=(6.2, 6.8), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.plot((0, 1), (0, 1), color=style.YELLOW, linestyle="--", zorder=3, label="perfectly calibrated")
        for bar, alpha in zip(
            above.bar(middles[filled], accuracy, width, color=style.BLUE, edgecolor="white", linewidth=1),
            opacity,
            strict=True,
        ):
            bar.set_alpha(alpha)
        above.vlines(
            confidence,
            np.minimum(accuracy, confidence),
            np.maximum(accuracy, confidence),
            color=style.ORANGE,
            linewidth=2.5,
            alpha=opacity,
        )
        above.scatter(confidence, confidence, marker="_", color=style.ORANGE, s=144, linewidth=2.5, alpha=opacity)
        above.set(ylabel="accuracy", ylim=(0, 1.02), xlim=(0, 1))
        verdict = text.calibration(calibration.direction, calibration.gap)
        above.set_title(verdict[0].upper() + verdict[1:])
        figure.legend(
            handles=[
                *above.get_legend_handles_labels()[0],
                Line2D([], [], color=style.ORANGE, linewidth=2.5, label="calibration gap"),
                Patch(color=style.BLUE, label="accuracy (paler: fewer images)"),
            ],
            loc="outside lower center",
            ncols=3,
        )
        below.bar(middles, calibration.counts / calibration.counts.sum(), width, color=style.SKY, edgecolor="white")
        below.set(xlabel="confidence", ylabel="fraction of images")
        for axis in (above.xaxis, above.yaxis, below.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        if about is not None:
            style.header(figure, f"{about}: calibration error {calibration.error:.2%}")
    return figure
