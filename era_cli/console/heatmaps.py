"""Heat maps in words: what each image was taken for, and what the maps are worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from era_cli.console import tables
from era_cli.results import Heatmaps
from era_cli.terminal import printable

MOST_ROWS = 25
LIKELIEST = 3  # classes of a person's own picture


def print_heatmaps(console: Console, header: Sequence[tuple[str, str]], found: Heatmaps) -> None:
    """Prints the facts of `header`, what the maps are worth, and a row for each of the first images."""
    facts = [*header]
    if (worth := found.faithfulness) is not None:
        hottest, random, moved = (f"{-100 * loss:+.1f}" for loss in (worth.hottest, worth.random, worth.moved))
        said = (
            f"replacing the hottest {worth.share:.0%} of pixels changes the {found.roles[0]} class's probability by"
            f" {hottest} points; random pixels {random}, the same shape elsewhere {moved}"
        )
        facts.append(("faithfulness", said))
    console.print(tables.facts(facts))
    if len(found):
        longest = tables.longest_name(console)
        console.print(_pictures(found, longest) if found.labels is None else _images(found, longest))


def _images(found: Heatmaps, longest: int) -> Table:
    table = _table(found)
    for name in ("true", "p(true)", "predicted", "p(predicted)"):
        numbers = name.startswith("p(")
        table.add_column(
            name, justify="right" if numbers else "left", overflow="ellipsis", no_wrap=True, max_width=longest
        )
    labels = found.labels if found.labels is not None else found.predicted
    for row in range(min(MOST_ROWS, len(found))):
        cells: list[object] = [printable(found.name(row))]
        for place in (labels[row], found.predicted[row]):
            cells += [printable(found.classes[place]), f"{found.probabilities[row, place]:.1%}"]
        table.add_row(*cells)  # type: ignore[arg-type]
    return table


def _pictures(found: Heatmaps, longest: int) -> Table:
    table = _table(found)
    table.add_column("likeliest classes", overflow="fold")
    for row in range(min(MOST_ROWS, len(found))):
        likeliest = np.argsort(-found.probabilities[row], kind="stable")[:LIKELIEST]
        said = ", ".join(f"{found.classes[place]} {found.probabilities[row, place]:.1%}" for place in likeliest)
        table.add_row(printable(found.name(row)), printable(said))
    return table


def _table(found: Heatmaps) -> Table:
    table = tables.titled(f"The first {MOST_ROWS} of {len(found):,} images" if len(found) > MOST_ROWS else "Images")
    table.add_column("image", overflow="ellipsis", no_wrap=True)
    return table
