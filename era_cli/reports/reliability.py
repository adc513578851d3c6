"""A reliability diagram above a histogram of confidence."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from era_cli.reports import style
from era_cli.results import Calibration


def reliability_diagram(calibration: Calibration, header: str) -> Figure:
    """Draws the accuracy of each confidence bin against the diagonal, and the fraction of images in each bin."""
    bins = len(calibration.counts)
    edges = np.linspace(0, 1, bins + 1)
    middles, width = (edges[:-1] + edges[1:]) / 2, 1 / bins
    filled = calibration.counts > 0
    accuracy, confidence = calibration.accuracy[filled], calibration.confidence[filled]
    with style.look():
        figure = Figure(figsize=(6.2, 6.8), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.plot((0, 1), (0, 1), color=style.YELLOW, linestyle="--", zorder=3, label="perfectly calibrated")
        above.bar(middles[filled], accuracy, width, color=style.BLUE, edgecolor="white", linewidth=1, label="accuracy")
        above.vlines(
            confidence,
            np.minimum(accuracy, confidence),
            np.maximum(accuracy, confidence),
            color=style.ORANGE,
            linewidth=2.5,
            label="calibration gap",
        )
        above.plot(confidence, confidence, "_", color=style.ORANGE, markersize=12, markeredgewidth=2.5)
        above.set(ylabel="accuracy", ylim=(0, 1.02), xlim=(0, 1))
        above.set_title(f"Expected calibration error {calibration.error:.2%}")
        figure.legend(handles=above.get_legend_handles_labels()[0], loc="outside lower center", ncols=3)
        below.bar(middles, calibration.counts / calibration.counts.sum(), width, color=style.SKY, edgecolor="white")
        below.set(xlabel="confidence", ylabel="fraction of images")
        for axis in (above.xaxis, above.yaxis, below.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        style.header(figure, header)
    return figure
