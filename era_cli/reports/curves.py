"""Loss, accuracy and learning rate of one run or several over their epochs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from era_cli.reports import style
from era_cli.results import Curves, EpochRow

MOST_MARKED = 40  # epochs up to which each one gets a dot
LONGEST_NAME = 40  # characters of a run's name in a legend
TRAINING: Final = "--"  # line styles
VALIDATION: Final = "-"

Value = Callable[[EpochRow], float | None]


def curves(runs: Sequence[Curves], *, baseline: float | None = None) -> Figure:
    """Draws each run: training dashed, validation solid, the best validation epoch marked, the rate below.

    Args:
        baseline: an accuracy, 0..1, for a line of reference.
    """
    with style.look():
        figure = Figure(figsize=(10, 6), layout="constrained")
        grid = figure.add_gridspec(2, 2, height_ratios=(2.6, 1))
        loss = figure.add_subplot(grid[0, 0], title="Loss", xlabel="epoch")
        accuracy = figure.add_subplot(grid[0, 1], title="Accuracy", xlabel="epoch")
        rate = figure.add_subplot(grid[1, :], title="Learning rate", xlabel="epoch")
        for run, (training, validation) in zip(runs, _colours(len(runs)), strict=True):
            _line(loss, run, lambda row: row.train_loss, training, TRAINING)
            _line(loss, run, lambda row: row.val_loss, validation, VALIDATION)
            _line(accuracy, run, lambda row: row.train_acc, training, TRAINING)
            _line(accuracy, run, lambda row: row.val_acc, validation, VALIDATION)
            if run.best is not None and run.best.val_acc is not None:
                accuracy.plot(
                    run.best.epoch, run.best.val_acc, "o", markersize=9, markerfacecolor="none", color=validation
                )
            rate.plot(np.arange(1, len(run.rates) + 1) / run.steps_per_epoch, run.rates, color=validation)
        if baseline is not None:
            accuracy.axhline(baseline, color=style.INK, linewidth=1.2, linestyle=":")
        accuracy.yaxis.set_major_formatter(PercentFormatter(1))
        _frame(loss, accuracy, rate, last=max((row.epoch for run in runs for row in run.epochs), default=1))
        figure.suptitle(style.plain(_header(runs)), x=0.01, ha="left", fontsize=12, fontweight="bold")
        _explain(figure, runs, baseline)
    return figure


def _colours(count: int) -> list[tuple[str, str]]:
    """The colours of training and validation for each run; one run alone tells them apart by colour, too."""
    if count == 1:
        return [(style.ORANGE, style.BLUE)]
    if count <= len(style.PALETTE):
        return [(colour, colour) for colour in style.PALETTE[:count]]
    shades = mpl.colormaps["viridis"](np.linspace(0, 0.9, count))
    return [(mpl.colors.to_hex(shade),) * 2 for shade in shades]


def _line(axes: Axes, run: Curves, value: Value, colour: str, linestyle: str) -> None:
    points = [(row.epoch, y) for row in run.epochs if (y := value(row)) is not None]
    epochs, values = [epoch for epoch, _ in points], [y for _, y in points]
    marker = "o" if len(points) <= MOST_MARKED else ""
    axes.plot(epochs, values, color=colour, linestyle=linestyle, marker=marker, markersize=3.5)


def _frame(loss: Axes, accuracy: Axes, rate: Axes, *, last: int) -> None:
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        room = 0.04 * max(last - 1, 1)
        axes.set_xlim(1 - room, last + room)
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    rate.set_xlim(left=0)
    rate.set_ylim(bottom=0)


def _header(runs: Sequence[Curves]) -> str:
    if len(runs) > 1:
        return f"{len(runs)} runs"
    (run,) = runs
    facts = [_progress(run)] if run.status != "finished" else []
    if run.best is None:
        facts.append("no epoch yet")
    elif run.best.val_acc is not None:
        facts.append(_best(run))
    else:
        facts.append("nothing held out for validation")
    if run.test_acc is not None:
        facts.append(f"test {run.test_acc:.2%}")
    return f"{run.name}: {', '.join(facts)}"


def _progress(run: Curves) -> str:
    return f"{run.status} after {len(run.epochs)} of {run.planned_epochs} epochs"


def _best(run: Curves) -> str:
    if run.best is None or run.best.val_acc is None:
        return "no validation"
    return f"best validation {run.best.val_acc:.2%} at epoch {run.best.epoch}"


def _explain(figure: Figure, runs: Sequence[Curves], baseline: float | None) -> None:
    training, validation = _colours(len(runs))[0] if len(runs) == 1 else (style.INK, style.INK)
    entries = [
        Line2D([], [], color=training, linestyle=TRAINING, label="training (augmented images)"),
        Line2D([], [], color=validation, linestyle=VALIDATION, label="validation"),
    ]
    if any(run.best is not None and run.best.val_acc is not None for run in runs):
        entries.append(
            Line2D(
                [],
                [],
                color=validation,
                linestyle="",
                marker="o",
                markersize=9,
                markerfacecolor="none",
                label="best epoch",
            )
        )
    if baseline is not None:
        entries.append(Line2D([], [], color=style.INK, linewidth=1.2, linestyle=":", label=f"baseline {baseline:.2%}"))
    for run, (_, colour) in zip(runs, _colours(len(runs)), strict=True):
        if len(runs) > 1:
            state = "" if run.status == "finished" else f", {_progress(run)}"
            name = f"{style.label(run.name, LONGEST_NAME)}: {_best(run)}{state}"
            entries.append(Line2D([], [], color=colour, label=name))
    figure.legend(handles=entries, loc="outside lower center", ncols=4 if len(runs) == 1 else 2)
