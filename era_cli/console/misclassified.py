"""Mistakes on a terminal: how many there are, the first of them, and the most confused pairs of classes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from era_cli.console import tables
from era_cli.console.terminal import printable
from era_cli.results import ConfusedPair, Mistakes

COVERAGE = 0.5  # fraction of the mistakes that the listed pairs cover, if they can
MOST_PAIRS = 12
FIRST = 10  # images that are listed
WITH_FILES = 80  # columns of a terminal that has room for their files


def print_mistakes(console: Console, header: Sequence[tuple[str, str]], mistakes: Mistakes) -> None:
    """Prints the facts of `header`, the first images, and the pairs that cover most mistakes."""
    facts = [*header, (_kind(mistakes), _count(mistakes))]
    if mistakes.expected is not None:
        expected = f"about {mistakes.expected:,} expected at {mistakes.accuracy:.2%} accuracy"
        chance = ", so the number is no evidence of label errors" if mistakes.total <= mistakes.expected else ""
        facts.append(("if every label were right", expected + chance))
    if mistakes.filter_text:
        facts.append(("of these", f"{len(mistakes):,} {mistakes.filter_text}"))
    console.print(tables.facts(facts))
    if not len(mistakes):
        return
    console.print(_images(mistakes, console))
    console.print(_pairs(mistakes))


def headline(mistakes: Mistakes) -> str:
    """The result in one line."""
    expected = "" if mistakes.expected is None else f", about {mistakes.expected:,} expected if every label were right"
    of_these = f", of these {len(mistakes):,} {mistakes.filter_text}" if mistakes.filter_text else ""
    return f"{_kind(mistakes)} {_count(mistakes)}{expected}{of_these}"


def _kind(mistakes: Mistakes) -> str:
    return "suspected label errors" if mistakes.suspects else "misclassified"


def _count(mistakes: Mistakes) -> str:
    return f"{mistakes.total:,} of {mistakes.evaluated:,} ({mistakes.total / mistakes.evaluated:.2%})"


def _images(mistakes: Mistakes, console: Console) -> Table:
    """The first images by index and file, without the file on a narrow terminal: the index names the image, too."""
    first = range(min(FIRST, len(mistakes)))
    table = tables.titled(f"First {len(first)} images" if len(first) < len(mistakes) else "All images")
    tables.add_numbers(table, "index")
    files = mistakes.files if console.width >= WITH_FILES else None
    if files is not None:
        tables.add_names(table, "file")
    label, answer = ("label", "suggested") if mistakes.suspects else ("true", "predicted")
    tables.add_names(table, label, answer)
    tables.add_numbers(table, f"p({label})", f"p({answer})")
    for row in first:
        table.add_row(
            str(mistakes.index[row]),
            *([] if files is None else [printable(files[row])]),
            printable(mistakes.classes[mistakes.labels[row]]),
            printable(mistakes.classes[mistakes.answers[row]]),
            f"{mistakes.true_probability[row]:.2%}",
            f"{mistakes.confidence[row]:.2%}",
        )
    return tables.drop_to_fit(console, table, [3 if files is None else 4])


def _pairs(mistakes: Mistakes) -> Table:
    pairs = _leading(mistakes)
    covered = sum(pair.count for pair in pairs) / len(mistakes)
    if len(mistakes.pairs) == 1:
        which = "The only pair makes"
    elif len(pairs) == len(mistakes.pairs):
        which = "All pairs make"
    else:
        which = f"{len(pairs)} of {len(mistakes.pairs)} pairs make{'s' * (len(pairs) == 1)}"
    table = tables.titled(f"{which} up {covered:.1%}")
    tables.add_names(table, *(("label", "suggested") if mistakes.suspects else ("true", "predicted")))
    tables.add_numbers(table, "images", "fraction")
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
