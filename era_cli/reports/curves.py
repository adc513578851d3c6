"""Loss, accuracy and learning rate of one run or several over their epochs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from era_cli.reports import style
from era_cli.results import Curves, EpochRow
from era_cli.text import without_controls

MOST_MARKED = 40  # epochs up to which each one gets a dot
LONGEST_NAME = 60  # characters of a run's name in a legend
NAME = 0.2  # inches of height for each
TRAINING: Final = "--"  # line styles
VALIDATION: Final = "-"
RING: Final[Any] = {"marker": "o", "markersize": 9, "markerfacecolor": "none"}  # around the best epoch

Value = Callable[[EpochRow], float | None]


def curves(runs: Sequence[Curves], *, baseline: float | None = None) -> Figure:
    """Draws each run: training dashed, validation solid, the best epoch marked, the learning rate below.

    Args:
        baseline: an accuracy, 0..1, for a reference line.
    """
    with style.look():
        names = 0 if len(runs) == 1 else len(runs)
        figure = Figure(figsize=(10, 6 + NAME * names), layout="constrained")
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
                accuracy.plot(run.best.epoch, run.best.val_acc, linestyle="", color=validation, **RING)
            rate.plot(run.steps / run.steps_per_epoch, run.rates, color=validation)
        if baseline is not None:
            accuracy.axhline(baseline, color=style.INK, linewidth=1.2, linestyle=":")
        accuracy.yaxis.set_major_formatter(PercentFormatter(1))
        _frame(loss, accuracy, rate, last=max((row.epoch for run in runs for row in run.epochs), default=1))
        style.header(figure, _header(runs))
        _explain(figure, runs, baseline)
    return figure


def _colours(count: int) -> list[tuple[str, str]]:
    """The colours of training and validation for each run; a single run distinguishes them by colour, too."""
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
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        room = max(0.04 * (last - 1), 0.3)
        axes.set_xlim(1 - room, last + room)
    rate.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    rate.set_xlim(left=0)
    rate.set_ylim(bottom=0)


def _header(runs: Sequence[Curves]) -> str:
    if len(runs) > 1:
        return f"{len(runs)} runs"
    (run,) = runs
    facts = []
    if run.status != "finished":
        facts.append(f"{run.status}, {len(run.epochs)} of {run.planned_epochs} epochs")
    if run.best is not None and run.best.val_acc is not None:
        facts.append(f"best epoch {run.best.epoch}, validation {run.best.val_acc:.2%}")
    elif run.best is not None:
        facts.append("no validation split")
    if run.test_acc is not None:
        facts.append(f"test {run.test_acc:.2%}" + (f" ({run.test_sample} test images)" if run.test_sample else ""))
    return f"{style.label(run.name, LONGEST_NAME)}: {', '.join(facts) or 'finished'}"


def _explain(figure: Figure, runs: Sequence[Curves], baseline: float | None) -> None:
    """What the lines mean, and below them, where there are several runs, the name of each."""
    colours = _colours(len(runs))
    training, validation = colours[0] if len(runs) == 1 else (style.INK, style.INK)
    lines = [
        Line2D([], [], color=training, linestyle=TRAINING, label="training (augmented images, incl. label smoothing)"),
        Line2D([], [], color=validation, linestyle=VALIDATION, label="validation"),
        Line2D([], [], color=validation, linestyle="", label="best epoch", **RING),
    ]
    if baseline is not None:
        lines.append(Line2D([], [], color=style.INK, linewidth=1.2, linestyle=":", label=f"baseline {baseline:.2%}"))
    figure.legend(handles=lines, loc="outside lower center" if len(runs) == 1 else "outside upper right", ncols=4)
    if len(runs) > 1:
        names = [
            Line2D([], [], color=colour, label=without_controls(_header([run])))
            for run, (_, colour) in zip(runs, colours, strict=True)
        ]
        figure.legend(handles=names, loc="outside lower left")
