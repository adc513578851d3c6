"""An evaluation on a terminal: overall metrics, classes from the worst, and the most confused pairs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from era_cli.console import tables
from era_cli.console.terminal import printable
from era_cli.results import ClassScore, Metrics
from era_cli.text import calibration

MOST_CLASSES = 20  # shown; of more, the worst
MOST_PAIRS = 5


def print_evaluation(console: Console, header: Sequence[tuple[str, str]], metrics: Metrics) -> None:
    """Prints the facts of `header`, the overall metrics, the worst classes and the most confused pairs."""
    console.print(_overall(header, metrics))
    console.print(_classes(metrics))
    if metrics.pairs:
        console.print(_pairs(metrics))


def headline(metrics: Metrics) -> str:
    """The result in one line."""
    return f"accuracy {_accuracy(metrics)}"


def _accuracy(metrics: Metrics) -> str:
    low, high = metrics.interval
    counted = f"{metrics.correct:,} of {metrics.count:,}"
    return f"{metrics.accuracy:.2%} ({counted}), 95% interval {low:.2%} to {high:.2%}"


def _overall(header: Sequence[tuple[str, str]], metrics: Metrics) -> Table:
    table = tables.facts(header)
    table.add_row("accuracy", _accuracy(metrics))
    table.add_row("loss", f"{metrics.loss:.4f}")
    if metrics.top5 is not None:
        table.add_row("top-5 accuracy", f"{metrics.top5:.2%}")
    table.add_row("macro F1", f"{metrics.macro_f1:.2%}")
    measured = metrics.calibration
    verdict = calibration(measured.direction, measured.gap)
    table.add_row("calibration error", f"{measured.error:.2%}, {verdict}")
    return table


def _classes(metrics: Metrics) -> Table:
    ranked = sorted(metrics.per_class, key=_badness)
    title = "Classes, worst first"
    if len(ranked) > MOST_CLASSES:
        title = f"The {MOST_CLASSES} worst of {len(ranked)} classes (the JSON file has all)"
    table = tables.titled(title)
    tables.add_names(table, "class")
    tables.add_numbers(table, "precision", "recall", "F1", "images")
    for score in ranked[:MOST_CLASSES]:
        scores = (_percent(value) for value in (score.precision, score.recall, score.f1))
        table.add_row(printable(score.name), *scores, f"{score.support:,}")
    return table


def _badness(score: ClassScore) -> tuple[bool, float]:
    """A class without images or predictions comes last."""
    return score.f1 is None, score.f1 or 0.0


def _pairs(metrics: Metrics) -> Table:
    table = tables.titled("Most confused")
    tables.add_names(table, "true", "predicted")
    tables.add_numbers(table, "images", "of true class")
    for pair in metrics.pairs[:MOST_PAIRS]:
        table.add_row(printable(pair.true), printable(pair.predicted), f"{pair.count:,}", f"{pair.share:.2%}")
    return table


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.2%}"
