"""Loss, accuracy and learning rate of one run or several over their epochs."""

from __future__ import annotations

import math
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
from era_cli.text import plural, without_controls

MOST_MARKED = 40  # epochs up to which each one gets a dot
LONGEST_NAME = 60  # characters of a run's name in a legend
MOST_IN_TITLE, LONGEST_IN_TITLE = 3, 30  # runs that the title of several names, and the characters of each name
DWARFED = 0.05  # of the largest loss; the axis is logarithmic where half of the other losses are less
PANEL = (4.4, 3.0)  # inches: in a column of a phone its text is still legible
NAME = 0.2  # inches of height for each
TRAINING: Final = "--"  # line styles
VALIDATION: Final = "-"
RING: Final[Any] = {"marker": "o", "markersize": 11, "markerfacecolor": "none"}  # around the best epoch
STAR: Final[Any] = {"marker": "*", "markersize": 11, "markeredgecolor": style.INK, "markeredgewidth": 0.6}

Value = Callable[[EpochRow], float | None]


def curves(runs: Sequence[Curves], *, baseline: float | None = None) -> Figure:
    """Draws each run: training dashed, validation solid, best epoch and test accuracy marked, the rate below the loss.

    Args:
        baseline: an accuracy, 0..1, for a reference line.
    """
    with style.look():
        names = 0 if len(runs) == 1 else len(runs)
        figure = Figure(figsize=(10, 6 + NAME * names), layout="constrained")
        grid = figure.add_gridspec(2, 2, height_ratios=(2.6, 1))
        loss = figure.add_subplot(grid[0, 0])
        accuracy = figure.add_subplot(grid[0, 1], sharex=loss)
        rate = figure.add_subplot(grid[1, 0], sharex=loss)
        key = figure.add_subplot(grid[1, 1])
        key.set_axis_off()
        _draw_loss(loss, runs)
        _draw_accuracy(accuracy, runs, baseline)
        _draw_rate(rate, runs)
        _frame(loss, runs)
        style.header(figure, _header(runs))
        key.legend(handles=_key(runs, baseline), loc="center", fontsize=10)
        if len(runs) > 1:
            _name(figure, runs)
    return figure


def panels(run: Curves) -> dict[str, Figure]:
    """The same of one run as a figure each, without a legend: its loss, its accuracy, its learning rate."""
    figures = {}
    for name, draw in (("loss", _draw_loss), ("accuracy", _draw_accuracy), ("rate", _draw_rate)):
        with style.look():
            figures[name] = figure = Figure(figsize=PANEL, layout="constrained")
            axes = figure.add_subplot()
            draw(axes, [run])
            _frame(axes, [run])
    return figures


def _draw_loss(axes: Axes, runs: Sequence[Curves]) -> None:
    axes.set(title="Loss", xlabel="epoch")
    for run, (training, validation) in zip(runs, _colours(len(runs)), strict=True):
        _line(axes, run, lambda row: row.train_loss, training, TRAINING)
        _line(axes, run, lambda row: row.val_loss, validation, VALIDATION)
    losses = [max(values) for run in runs for row in run.epochs if (values := _losses(row))]
    if _dwarfs(losses):
        axes.set(yscale="log", title="Loss (logarithmic)")
        style.log_axis(axes.yaxis, *axes.get_ylim())


def _draw_accuracy(axes: Axes, runs: Sequence[Curves], baseline: float | None = None) -> None:
    axes.set(title="Accuracy", xlabel="epoch")
    for run, (training, validation) in zip(runs, _colours(len(runs)), strict=True):
        _line(axes, run, lambda row: row.train_acc, training, TRAINING)
        _line(axes, run, lambda row: row.val_acc, validation, VALIDATION)
        if run.best is not None and run.best.val_acc is not None:
            axes.plot(run.best.epoch, run.best.val_acc, linestyle="", color=validation, **RING)
        if run.best is not None and run.test_acc is not None:
            axes.plot(run.best.epoch, run.test_acc, linestyle="", color=validation, **STAR)
    if baseline is not None:
        axes.axhline(baseline, color=style.INK, linewidth=1.2, linestyle=":")
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _draw_rate(axes: Axes, runs: Sequence[Curves]) -> None:
    axes.set(title="Learning rate", xlabel="epoch")
    for run, (_, validation) in zip(runs, _colours(len(runs)), strict=True):
        axes.plot(run.steps / run.steps_per_epoch, run.rates, color=validation)
    axes.set_ylim(bottom=0)


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
    axes.plot(epochs, values, color=colour, linestyle=linestyle, marker=marker, markersize=_dot(len(points)))


def _dot(epochs: int) -> float:
    """The size in points of the dot of each of so many epochs: one alone has no line."""
    return 3.5 if epochs > 1 else 5.5


def _losses(row: EpochRow) -> list[float]:
    return [loss for loss in (row.train_loss, row.val_loss) if loss is not None and math.isfinite(loss) and loss > 0]


def _dwarfs(losses: Sequence[float]) -> bool:
    """Whether the largest of these is so large that half of the others would lie in the lowest DWARFED of the axis."""
    *others, largest = sorted(losses) or [0.0]
    return bool(others) and float(np.median(others)) < DWARFED * largest


def _frame(axes: Axes, runs: Sequence[Curves]) -> None:
    """The range of epochs, from the start of training, of these axes and all that share it."""
    last = max((row.epoch for run in runs for row in run.epochs), default=1)
    steps = max((run.steps[-1] / run.steps_per_epoch for run in runs if len(run.steps)), default=0.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(0, max(last, steps) + max(0.02 * last, 0.1))


def _header(runs: Sequence[Curves]) -> str:
    if len(runs) == 1:
        return _result(runs[0])
    names = [style.label(run.name, LONGEST_IN_TITLE) for run in runs[:MOST_IN_TITLE]]
    if len(runs) > MOST_IN_TITLE:
        names.append(plural(len(runs) - MOST_IN_TITLE, "more run"))
    header = f"{', '.join(names[:-1])} and {names[-1]}"
    accuracies = [run.val_acc for run in runs if run.val_acc is not None]
    return f"{header}: highest validation accuracy {max(accuracies):.2%}" if accuracies else header


def _result(run: Curves) -> str:
    facts = []
    if run.status != "finished":
        facts.append(f"{run.status}, {len(run.epochs)} of {plural(run.planned_epochs, 'epoch')}")
    if run.best is not None and run.best.val_acc is not None:
        facts.append(f"best epoch {run.best.epoch}, validation {run.best.val_acc:.2%}")
    elif run.best is not None:
        facts.append("last epoch (no validation split)")
    if run.test_acc is not None:
        facts.append(f"test {run.test_acc:.2%}" + (f" ({run.test_sample} test images)" if run.test_sample else ""))
    return f"{style.label(run.name, LONGEST_NAME)}: {', '.join(facts) or 'finished'}"


def _key(runs: Sequence[Curves], baseline: float | None) -> list[Line2D]:
    """What the lines mean that are there."""
    training, validation = _colours(1)[0] if len(runs) == 1 else (style.INK, style.INK)
    rows = [row for run in runs for row in run.epochs]
    longest = max(len(run.epochs) for run in runs)
    dashed: Any = {"linestyle": TRAINING if longest > 1 else ""}
    solid: Any = {"linestyle": VALIDATION if longest > 1 else ""}
    dots: Any = {"marker": "o", "markersize": _dot(longest)} if longest <= MOST_MARKED else {}
    lines = []
    if rows:
        label = "training (augmented images,\nloss incl. label smoothing)"
        lines.append(Line2D([], [], color=training, label=label, **dashed, **dots))
    if any(row.val_loss is not None or row.val_acc is not None for row in rows):
        lines.append(Line2D([], [], color=validation, label="validation", **solid, **dots))
    if any(run.best is not None and run.best.val_acc is not None for run in runs):
        lines.append(Line2D([], [], color=validation, linestyle="", label="best epoch", **RING))
    if any(run.best is not None and run.test_acc is not None for run in runs):
        lines.append(Line2D([], [], color=validation, linestyle="", label="test", **STAR))
    if baseline is not None:
        lines.append(Line2D([], [], color=style.INK, linewidth=1.2, linestyle=":", label=f"baseline {baseline:.2%}"))
    return lines


def _name(figure: Figure, runs: Sequence[Curves]) -> None:
    """Names each of several runs and its result below the axes."""
    names = [
        Line2D([], [], color=colour, label=without_controls(_result(run)))
        for run, (_, colour) in zip(runs, _colours(len(runs)), strict=True)
    ]
    figure.legend(handles=names, loc="outside lower left")
