"""Heat maps on a terminal: the predictions on each image, and how faithful the maps are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from era_cli.console import tables
from era_cli.console.terminal import printable
from era_cli.results import Faithfulness, Heatmaps
from era_cli.text import plural, signed_points

MOST_ROWS = 25
MOST_NAMED = 5  # empty maps
LIKELIEST = 3  # classes shown for an image without a label


def print_heatmaps(console: Console, header: Sequence[tuple[str, str]], heatmaps: Heatmaps) -> None:
    """Prints the facts of `header`, the faithfulness of the maps, and a row for each of the first images."""
    facts = [*header]
    if heatmaps.faithfulness is not None:
        facts.append(("faithfulness", _faithfulness(heatmaps.faithfulness, heatmaps.roles[0])))
    console.print(tables.facts(facts))
    if len(heatmaps):
        labelled = heatmaps.labels is not None
        table = (_labelled if labelled else _unlabelled)(console, heatmaps)
        console.print(tables.drop_to_fit(console, table, [4, 2] if labelled else []))  # the probabilities


def coarse(heatmaps: Heatmaps) -> str:
    """The warning that maps are too small to show a position."""
    height, width = heatmaps.maps.shape[2:]
    single = height * width == 1
    size = "a single cell" if single else f"only {width}x{height} cells"
    little = "no location" if single else "only a rough location"
    px = heatmaps.images.shape[1]
    return f"{heatmaps.layer} has {size} for images of {px} px, so its maps show {little}: use an earlier --layer."


def empty(heatmaps: Heatmaps) -> Iterator[str]:
    """Notes on maps that show nothing, unless none could."""
    if max(heatmaps.maps.shape[2:]) == 1:
        return
    places = list(zip(*(heatmaps.empty & ~heatmaps.repeated).nonzero(), strict=True))
    for row, column in places[:MOST_NAMED]:
        name = heatmaps.classes[heatmaps.targets[row, column]]
        where = f"at {heatmaps.layer} ({heatmaps.method})"
        yield f"Image {heatmaps.image_name(row)} has no map for {name}: no evidence for it {where}."
    if len(places) > MOST_NAMED:
        yield f"And {len(places) - MOST_NAMED} more."


def overwriting(figure: Path) -> str:
    """The note that a figure of other images has the same name."""
    return f"Overwriting {figure}; use --out to keep both."


def headline(heatmaps: Heatmaps) -> str:
    """The result in one line."""
    if heatmaps.faithfulness is None:
        return f"{heatmaps.method} of {plural(len(heatmaps), 'image')}, faithfulness not measured"
    return _faithfulness(heatmaps.faithfulness, heatmaps.roles[0])


def _faithfulness(faithfulness: Faithfulness, role: str) -> str:
    losses = (faithfulness.hottest, faithfulness.random, faithfulness.moved)
    hottest, random, shifted = (signed_points(-loss) for loss in losses)
    return (
        f"replacing the hottest {faithfulness.share:.0%} of pixels changes the probability of the {role} class by"
        f" {hottest} points; random pixels {random}, shifted mask {shifted} ({faithfulness.averaged})"
    )


def _labelled(console: Console, heatmaps: Heatmaps) -> Table:
    table, names = _table(console, heatmaps)
    for column in ("true", "predicted"):
        tables.add_names(table, column)
        tables.add_numbers(table, "p")
    predicted = heatmaps.predicted
    labels = predicted if heatmaps.labels is None else heatmaps.labels
    for row, name in enumerate(names):
        cells: list[Text | str] = []
        for label in (labels[row], predicted[row]):
            cells += [printable(heatmaps.classes[label]), f"{heatmaps.probabilities[row, label]:.1%}"]
        table.add_row(name, *cells)
    return table


def _unlabelled(console: Console, heatmaps: Heatmaps) -> Table:
    table, names = _table(console, heatmaps)
    tables.add_names(table, "most likely classes")
    for name, probabilities in zip(names, heatmaps.probabilities, strict=False):
        likeliest = np.argsort(-probabilities, kind="stable")[:LIKELIEST]
        cell = ", ".join(f"{heatmaps.classes[label]} {probabilities[label]:.1%}" for label in likeliest)
        table.add_row(name, printable(cell))
    return table


def _table(console: Console, heatmaps: Heatmaps) -> tuple[Table, list[Text]]:
    """A table of the first images, and their names in its first column."""
    count = min(MOST_ROWS, len(heatmaps))
    table = tables.titled("Images" if count == len(heatmaps) else f"The first {count} of {len(heatmaps):,} images")
    tables.add_names(table, "image")
    return table, [tables.image_name(console, heatmaps.image_name(row)) for row in range(count)]
