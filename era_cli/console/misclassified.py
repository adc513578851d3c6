"""Mistakes on a terminal: how many there are, and the most confused pairs of classes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from era_cli.console import tables
from era_cli.console.terminal import printable
from era_cli.results import ConfusedPair, Mistakes

COVERAGE = 0.5  # fraction of the mistakes that the listed pairs cover, if they can
MOST_PAIRS = 12
FIRST = 10  # suspected label errors that are listed


def print_mistakes(console: Console, header: Sequence[tuple[str, str]], mistakes: Mistakes) -> None:
    """Prints the facts of `header`, the first suspected label errors, and the pairs that cover most mistakes."""
    name = "suspected label errors" if mistakes.suspects else "misclassified"
    count = f"{mistakes.total:,} of {mistakes.evaluated:,} ({mistakes.total / mistakes.evaluated:.2%})"
    facts = [*header, (name, count)]
    if mistakes.filter_text:
        facts.append(("of these", f"{len(mistakes):,} {mistakes.filter_text}"))
    console.print(tables.facts(facts))
    if not len(mistakes):
        return
    if mistakes.suspects:
        console.print(_suspects(mistakes, tables.longest_name(console, names=3)))
    console.print(_pairs(mistakes, tables.longest_name(console)))


def _suspects(mistakes: Mistakes, longest: int) -> Table:
    first = min(FIRST, len(mistakes))
    table = tables.titled(f"The first {first}" if first < len(mistakes) else "All of them")
    names = [str(mistakes.index[row]) if mistakes.files is None else mistakes.files[row] for row in range(first)]
    images = tables.add_images(table, names, longest)
    for column in ("label", "suggested"):
        table.add_column(column, overflow="ellipsis", no_wrap=True, max_width=longest)
    for column in ("p(label)", "p(suggested)"):
        table.add_column(column, justify="right", no_wrap=True, min_width=len(column))
    for row in range(first):
        table.add_row(
            images[row],
            printable(mistakes.classes[mistakes.labels[row]]),
            printable(mistakes.classes[mistakes.answers[row]]),
            f"{mistakes.true_probability[row]:.2%}",
            f"{mistakes.confidence[row]:.2%}",
        )
    return table


def _pairs(mistakes: Mistakes, longest: int) -> Table:
    pairs = _leading(mistakes)
    covered = sum(pair.count for pair in pairs) / len(mistakes)
    which = "All" if len(pairs) == len(mistakes.pairs) > 1 else f"{len(pairs)} of {len(mistakes.pairs)}"
    table = tables.titled(f"{which} pairs make{'s' * (len(pairs) == 1)} up {covered:.1%}")
    for column in ("label", "suggested") if mistakes.suspects else ("true", "predicted"):
        table.add_column(column, overflow="ellipsis", no_wrap=True, max_width=longest)
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column("fraction", justify="right", no_wrap=True)
    for pair in pairs:
        table.add_row(printable(pair.true), printable(pair.predicted), f"{pair.count:,}", f"{pair.share:.1%}")
    return table


def _leading(mistakes: Mistakes) -> list[ConfusedPair]:
    """The most frequent pairs: as many as cover half of the mistakes, MOST_PAIRS of them at most."""
    shown: list[ConfusedPair] = []
    for pair in mistakes.pairs[:MOST_PAIRS]:
        if sum(other.count for other in shown) >= COVERAGE * len(mistakes):
            break
        shown.append(pair)
    return shown
