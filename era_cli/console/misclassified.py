"""Mistakes on a terminal: how many there are, the first of them, and the most confused pairs of classes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from era_cli.console import tables
from era_cli.console.terminal import printable
from era_cli.results import ConfusedPair, Mistakes

COVERAGE = 0.5  # fraction of the mistakes that the listed pairs cover, if they can
MOST_PAIRS = 12
FIRST = 10  # images that are listed
INDEX = 8  # columns of an index, and of the space beside it
SHORTEST_FILE = 12  # columns below which a file's name tells nothing


def print_mistakes(console: Console, header: Sequence[tuple[str, str]], mistakes: Mistakes) -> None:
    """Prints the facts of `header`, the first images, and the pairs that cover most mistakes."""
    name = "suspected label errors" if mistakes.suspects else "misclassified"
    count = f"{mistakes.total:,} of {mistakes.evaluated:,} ({mistakes.total / mistakes.evaluated:.2%})"
    facts = [*header, (name, count)]
    if mistakes.expected is not None:
        expected = f"about {mistakes.expected:,} expected at {mistakes.accuracy:.2%} accuracy"
        facts.append(("if every label were right", expected))
    if mistakes.filter_text:
        facts.append(("of these", f"{len(mistakes):,} {mistakes.filter_text}"))
    console.print(tables.facts(facts))
    if not len(mistakes):
        return
    console.print(_images(mistakes, console))
    console.print(_pairs(mistakes, tables.longest_name(console)))


def _images(mistakes: Mistakes, console: Console) -> Table:
    """The first images, by index and, where the console is wide enough, by file."""
    first = range(min(FIRST, len(mistakes)))
    table = tables.titled(f"The first {len(first)}" if len(first) < len(mistakes) else "All of them")
    table.add_column("index", justify="right", no_wrap=True)
    longest = tables.longest_name(console, names=3, beside=INDEX)
    files: list[tuple[Text, ...]] = [()] * len(first)
    if mistakes.files is not None and longest >= SHORTEST_FILE:
        files = [(name,) for name in tables.add_images(table, mistakes.files[: len(first)], longest)]
    else:
        longest = tables.longest_name(console, beside=INDEX)
    for column in ("label", "suggested") if mistakes.suspects else ("true", "predicted"):
        table.add_column(column, overflow="ellipsis", no_wrap=True, max_width=longest)
    for column in ("p(label)", "p(suggested)") if mistakes.suspects else ("p(true)", "p(predicted)"):
        table.add_column(column, justify="right", no_wrap=True, min_width=len(column))
    for row in first:
        table.add_row(
            str(mistakes.index[row]),
            *files[row],
            printable(mistakes.classes[mistakes.labels[row]]),
            printable(mistakes.classes[mistakes.answers[row]]),
            f"{mistakes.true_probability[row]:.2%}",
            f"{mistakes.confidence[row]:.2%}",
        )
    return table


def _pairs(mistakes: Mistakes, longest: int) -> Table:
    pairs = _leading(mistakes)
    which = "All" if len(pairs) == len(mistakes.pairs) else f"{len(pairs)} of {len(mistakes.pairs)}"
    table = tables.titled(f"{which} pairs make up {sum(pair.count for pair in pairs) / len(mistakes):.1%}")
    for column in ("label", "suggested") if mistakes.suspects else ("true", "predicted"):
        table.add_column(column, overflow="ellipsis", no_wrap=True, max_width=longest)
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column("fraction", justify="right", no_wrap=True)
    for pair in pairs:
        table.add_row(printable(pair.true), printable(pair.predicted), f"{pair.count:,}", f"{pair.share:.1%}")
    return table


def _leading(mistakes: Mistakes) -> list[ConfusedPair]:
    """The most frequent pairs that together cover most of the mistakes, MOST_PAIRS of them at most."""
    shown: list[ConfusedPair] = []
    for pair in mistakes.pairs[:MOST_PAIRS]:
        if sum(other.count for other in shown) >= COVERAGE * len(mistakes):
            break
        shown.append(pair)
    return shown
