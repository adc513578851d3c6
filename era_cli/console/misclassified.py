"""Mistakes on a terminal: how many there are, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from era_cli.console import tables
from era_cli.console.terminal import printable
from era_cli.results import ConfusedPair, Mistakes

MOST_OF_THEM = 0.5  # the share of the mistakes that the listed pairs make up, if they can
MOST_PAIRS = 12
FIRST = 10  # suspects that are listed


def print_mistakes(console: Console, header: Sequence[tuple[str, str]], found: Mistakes) -> None:
    """Prints the facts of `header`, the first of the suspects, and the pairs of classes that make up most of them."""
    what = "suspects" if found.suspects else "wrong"
    count = f"{found.total:,} of {found.judged:,} ({found.total / found.judged:.2%})"
    facts = [*header, (what, count)]
    if found.which:
        facts.append(("of these", f"{len(found):,} {found.which}"))
    console.print(tables.facts(facts))
    if not len(found):
        return
    longest = tables.longest_name(console)
    if found.suspects:
        console.print(_suspects(found, tables.longest_name(console, names=3)))
    console.print(_pairs(found, longest))


def _suspects(found: Mistakes, longest: int) -> Table:
    first = min(FIRST, len(found))
    table = tables.titled(f"The first {first}" if first < len(found) else "All of them")
    names = [str(found.index[row]) if found.files is None else found.files[row] for row in range(first)]
    images = tables.add_images(table, names, longest)
    for name in ("label", "rather"):
        table.add_column(name, overflow="ellipsis", no_wrap=True, max_width=longest)
    for name in ("p(label)", "p(rather)"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    for row in range(first):
        table.add_row(
            images[row],
            printable(found.classes[found.labels[row]]),
            printable(found.classes[found.answers[row]]),
            f"{found.true_probability[row]:.2%}",
            f"{found.confidence[row]:.2%}",
        )
    return table


def _leading(found: Mistakes) -> list[ConfusedPair]:
    """The most frequent pairs that make up most of the mistakes together, or as many as are to be read."""
    shown: list[ConfusedPair] = []
    for pair in found.pairs[:MOST_PAIRS]:
        if sum(other.count for other in shown) >= MOST_OF_THEM * len(found):
            break
        shown.append(pair)
    return shown


def _pairs(found: Mistakes, longest: int) -> Table:
    pairs = _leading(found)
    which = "All" if len(pairs) == len(found.pairs) else f"{len(pairs)} of {len(found.pairs)}"
    table = tables.titled(f"{which} pairs make up {sum(pair.count for pair in pairs) / len(found):.1%}")
    for name in ("label", "rather") if found.suspects else ("true", "predicted"):
        table.add_column(name, overflow="ellipsis", no_wrap=True, max_width=longest)
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for pair in pairs:
        table.add_row(printable(pair.true), printable(pair.predicted), f"{pair.count:,}", f"{pair.share:.1%}")
    return table
