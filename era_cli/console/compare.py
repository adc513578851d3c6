"""A comparison on a terminal: both sides, classes, the images that flip, the settings that differ, and the claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from era_cli.console import tables
from era_cli.console.terminal import printable
from era_cli.results import Comparison, Difference, Flips, Labels, Side
from era_cli.text import plural, setting, signed_points

MOST_CLASSES = 20  # shown; of more, those that differ most
FIRST = 5  # images of each kind that are listed
WIDE = 90  # columns of a terminal that has room for the files of images and the accuracies of classes
NARROW = 60  # columns of one without room for more than the names and one or two numbers
_MARK = 12  # characters of a hash


def print_comparison(console: Console, header: Sequence[tuple[str, str]], comparison: Comparison) -> None:
    """Prints the facts of `header`, the difference, classes, first flips, settings and, last, the claim."""
    console.print(tables.facts([*header, *_results(comparison)]))
    if comparison.paired is None:
        console.print(_runs(console, comparison))
    console.print(_classes(console, comparison))
    if len(comparison.lost):
        table = _flips(console, "Right in A, wrong in B", comparison.lost, comparison.lost.b_predicted, comparison)
        console.print(table)
    if len(comparison.gained):
        table = _flips(console, "Wrong in A, right in B", comparison.gained, comparison.gained.a_predicted, comparison)
        console.print(table)
    if comparison.settings:
        console.print(_settings(console, comparison))
    else:
        console.print("Recipes, data, device and versions are the same; only seeds may differ.\n")
    text = f"{comparison.claim[0].upper()}{comparison.claim[1:]}."
    console.print(printable(text, "bold"), soft_wrap=not console.is_terminal)


def headline(comparison: Comparison) -> str:
    """The result in one line."""
    return comparison.claim


def _results(comparison: Comparison) -> list[tuple[str, str]]:
    paired, difference = comparison.paired, comparison.difference
    facts = [(f"accuracy of {name}", _accuracy(side)) for name, side in (("A", comparison.a), ("B", comparison.b))]
    facts.append(("difference B - A", _difference(difference)))
    if paired is None:
        facts.append(("p-value", "-" if difference.p_value is None else f"{difference.p_value:.2g} (Welch's t-test)"))
        lost, gained = plural(len(comparison.lost), "image"), f"{len(comparison.gained):,}"
        facts.append(("flips", f"{lost} right in most runs of A and wrong in most runs of B, {gained} the reverse"))
    else:
        facts.append(("p-value", f"{difference.p_value:.2g} (McNemar's exact test)"))
        facts.append(
            (
                "correct",
                f"{paired.both:,} in both, {paired.only_a:,} in A alone, {paired.only_b:,} in B alone,"
                f" {paired.neither:,} in neither",
            )
        )
    return facts


def _accuracy(side: Side) -> str:
    if side.deviation is not None:
        return f"mean {side.mean:.2%}, standard deviation {100 * side.deviation:.2f} points ({len(side.runs)} runs)"
    (run,) = side.runs
    low, high = run.interval
    return f"{run.accuracy:.2%} ({run.correct:,} correct), 95% interval {low:.2%} to {high:.2%}"


def _difference(difference: Difference) -> str:
    value = f"{signed_points(difference.value, 2)} points"
    if difference.interval is None:
        return f"{value}; no interval, since accuracies do not vary between the runs of a side"
    low, high = difference.interval
    return f"{value}, 95% interval {signed_points(low, 2)} to {signed_points(high, 2)}"


def _titled(console: Console, title: str) -> Table:
    """A table at least as wide as its title, which would wrap otherwise."""
    table = tables.titled(title)
    table.min_width = min(len(title), console.width)
    return table


def _runs(console: Console, comparison: Comparison) -> Table:
    table = _titled(console, "Runs")
    narrow = console.width < NARROW
    tables.add_names(table, "side", "run")
    tables.add_numbers(table, "seed")
    if not narrow:
        tables.add_names(table, "checkpoint")
        tables.add_numbers(table, "epochs")
    tables.add_numbers(table, "accuracy")
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        for run in side.runs:
            epochs = "-" if run.epochs is None else f"{run.epochs:.4g}"
            trained = () if narrow else (printable(run.checkpoint), epochs)
            table.add_row(name, printable(run.name), str(run.seed), *trained, f"{run.accuracy:.2%}")
    return table


def _classes(console: Console, comparison: Comparison) -> Table:
    ranked = sorted(comparison.per_class, key=lambda each: -abs(each.b - each.a))
    title = "Classes, largest difference first"
    if len(ranked) > MOST_CLASSES:
        title = f"The {MOST_CLASSES} of {len(ranked)} classes that differ most (--json has all)"
    table = _titled(console, title)
    tables.add_names(table, "class")
    wide, narrow = console.width >= WIDE, console.width < NARROW
    tables.add_numbers(table, *([] if narrow else ["images"]), *(["A", "B"] if wide else []), "B - A")
    tables.add_numbers(table, *([] if narrow else ["A only", "B only"]), "p (Holm)")
    for each in ranked[:MOST_CLASSES]:
        table.add_row(
            printable(each.name),
            *([] if narrow else [f"{each.support:,}"]),
            *([f"{each.a:.2%}", f"{each.b:.2%}"] if wide else []),
            signed_points(each.b - each.a, 2),
            *([] if narrow else [f"{each.lost:,}", f"{each.gained:,}"]),
            "-" if each.p_value_holm is None else f"{each.p_value_holm:.2g}",
        )
    return table


def _flips(console: Console, title: str, flips: Flips, predicted: Labels, comparison: Comparison) -> Table:
    """The first images, with the wrong class `predicted` (M,); files and probabilities where there is room."""
    first = range(min(FIRST, len(flips)))
    table = _titled(console, f"{title}: {len(first):,} of {len(flips):,}" if len(first) < len(flips) else title)
    tables.add_numbers(table, "index")
    files = flips.files if console.width >= WIDE else None
    if files is not None:
        tables.add_names(table, "file")
    tables.add_names(table, "true", "predicted")
    narrow = console.width < NARROW
    if not narrow:
        tables.add_numbers(table, "p(true) in A", "in B")
    for row in first:
        table.add_row(
            str(flips.index[row]),
            *([] if files is None else [printable(files[row])]),
            printable(comparison.classes[flips.labels[row]]),
            printable(comparison.classes[predicted[row]]),
            *([] if narrow else [f"{side[row]:.1%}" for side in (flips.a_true_probability, flips.b_true_probability)]),
        )
    return table


def _settings(console: Console, comparison: Comparison) -> Table:
    table = _titled(console, "Settings that differ")
    tables.add_names(table, "setting", "A", "B")
    for each in comparison.settings:
        table.add_row(each.name.removeprefix("recipe."), _values(each.a), _values(each.b))
    return table


def _values(values: Sequence[Any]) -> Any:
    return printable(", ".join(_shortened(setting(value)) for value in values))


def _shortened(text: str) -> str:
    """A hash by its first characters."""
    return text[:_MARK] if len(text) in (40, 64) and set(text) <= set("0123456789abcdef") else text
