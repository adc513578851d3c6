"""Heat maps in words: what each image was taken for, and what the maps are worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from era_cli.console import tables
from era_cli.console.terminal import printable
from era_cli.results import Heatmaps

MOST_ROWS = 25
LIKELIEST = 3  # classes of a person's own picture


def print_heatmaps(console: Console, header: Sequence[tuple[str, str]], found: Heatmaps) -> None:
    """Prints the facts of `header`, what the maps are worth, and a row for each of the first images."""
    facts = [*header]
    if (worth := found.faithfulness) is not None:
        hottest, random, moved = (
            f"{round(-100 * loss, 1) + 0.0:+.1f}" for loss in (worth.hottest, worth.random, worth.moved)
        )
        said = (
            f"replacing the hottest {worth.share:.0%} of pixels changes the {found.roles[0]} class's probability by"
            f" {hottest} points; random pixels {random}, the same shape elsewhere {moved} (mean of {worth.count})"
        )
        facts.append(("faithfulness", said))
    console.print(tables.facts(facts))
    if len(found):
        longest = tables.longest_name(console, names=3)
        console.print(_pictures(found, longest) if found.labels is None else _images(found, longest))


def _images(found: Heatmaps, longest: int) -> Table:
    table, names = _table(found, longest)
    for name in ("true", "predicted"):
        table.add_column(name, overflow="ellipsis", no_wrap=True, max_width=longest)
        table.add_column("p", justify="right", no_wrap=True, min_width=len("100.0%"))
    labels = found.labels if found.labels is not None else found.predicted
    for row, image in enumerate(names):
        true, predicted = labels[row], found.predicted[row]
        table.add_row(
            image,
            printable(found.classes[true]),
            f"{found.probabilities[row, true]:.1%}",
            printable(found.classes[predicted]),
            f"{found.probabilities[row, predicted]:.1%}",
        )
    return table


def _pictures(found: Heatmaps, longest: int) -> Table:
    table, names = _table(found, longest)
    table.add_column("likeliest classes", overflow="fold")
    for row, name in enumerate(names):
        likeliest = np.argsort(-found.probabilities[row], kind="stable")[:LIKELIEST]
        said = ", ".join(f"{found.classes[place]} {found.probabilities[row, place]:.1%}" for place in likeliest)
        table.add_row(name, printable(said))
    return table


def _table(found: Heatmaps, longest: int) -> tuple[Table, list[Text]]:
    """A table of the first images, and their names in its first column."""
    count = min(MOST_ROWS, len(found))
    table = tables.titled("Images" if count == len(found) else f"The first {count} of {len(found):,} images")
    return table, tables.add_images(table, [found.name(row) for row in range(count)], longest)
