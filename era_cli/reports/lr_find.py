"""A learning-rate range test: loss against learning rate, and the suggested learning rates."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from era_cli.reports import style
from era_cli.results import TENTH, LrSweep

FIRST = 10  # steps, whose learning rate is too low to change the loss
HEADROOM = 1.0  # how far the loss axis extends above these, in units of the fall below them; beyond is divergence


def lr_curve(sweep: LrSweep, header: str) -> Figure:
    """Draws every seed's loss, the smoothed mean, and a line at each suggestion; `header` names data and optimizer."""
    with style.look():
        figure = Figure(figsize=(9, 5.4), layout="constrained")
        axes = figure.add_subplot(xscale="log", xlabel="learning rate", ylabel="training loss")
        many = len(sweep.seeds) > 1
        for place, losses in enumerate(sweep.losses):
            name = ("raw, each seed" if many else "raw") if place == 0 else None
            axes.plot(sweep.rates, losses, color=style.SKY, linewidth=1, alpha=0.8, label=name)
        name = f"mean of {len(sweep.seeds)} seeds, smoothed" if many else "smoothed"
        axes.plot(sweep.rates, sweep.smoothed, color=style.INK, linewidth=2.2, label=name)
        colours = (style.ORANGE, style.GREEN, style.PURPLE)
        for suggestion, colour in zip(sweep.suggestions, colours, strict=False):
            chosen = sweep.recommended is not None and suggestion.rule == sweep.recommended.rule
            axes.axvline(
                suggestion.lr,
                color=colour,
                linestyle="-" if chosen else "--",
                linewidth=2.2 if chosen else 1.5,
                label=f"{suggestion.rule}: {suggestion.lr:.3g}" + (" (recommended)" if chosen else ""),
            )
            if many:
                axes.axvspan(*suggestion.spread, color=colour, alpha=0.12, linewidth=0)
            axes.plot(suggestion.lr, _smoothed_at(sweep, suggestion.lr), "o", color=colour, markersize=8)
            if suggestion.rule == TENTH:
                minimum = 10 * suggestion.lr
                axes.plot(
                    minimum,
                    _smoothed_at(sweep, minimum),
                    "o",
                    color=colour,
                    markerfacecolor="none",
                    markersize=9,
                    label=f"minimum: {minimum:.3g}",
                    linestyle="",
                )
        _frame_losses(axes, sweep)
        style.log_axis(axes.xaxis, float(sweep.rates[0]), float(sweep.rates[-1]))
        style.header(figure, header)
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def _smoothed_at(sweep: LrSweep, rate: float) -> float:
    return float(np.interp(np.log(rate), np.log(sweep.rates), sweep.smoothed))


def _frame_losses(axes: Axes, sweep: LrSweep) -> None:
    """Ends the loss axis where divergence begins: how far it went is meaningless and would flatten the rest."""
    finite = sweep.losses[np.isfinite(sweep.losses)]
    if not len(finite):
        return
    low, first = float(finite.min()), float(np.nanmean(sweep.losses[:, :FIRST]))
    room = 0.08 * max(first - low, 0.1)
    axes.set_ylim(low - room, min(float(finite.max()), first + HEADROOM * max(first - low, 0.1)) + room)
