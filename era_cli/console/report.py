"""What is in the page of a run, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from era_cli.console import tables
from era_cli.console.terminal import printable
from era_cli.results import Report
from era_cli.text import file_size, plural, sample


def print_report(console: Console, header: Sequence[tuple[str, str]], report: Report, size: int) -> None:
    """Prints the facts of `header`, and what the page of `size` bytes holds."""
    low, high = report.metrics.interval
    heatmaps = report.gallery.heatmaps
    table = tables.facts(header)
    table.add_row("accuracy", f"{report.metrics.accuracy:.2%}, 95% interval {low:.2%} to {high:.2%}")
    for group in report.gallery.groups:
        listed = sample(len(group.rows), group.total) if len(group.rows) else "not listed"
        table.add_row(printable(group.title[0].lower() + group.title[1:]), listed if group.total else "none")
    table.add_row("heat maps", f"{heatmaps.method.proper_name} at {heatmaps.layer}, {plural(len(heatmaps), 'image')}")
    if report.comparison is not None:
        table.add_row("comparison", printable(report.comparison.claim))
    table.add_row("size", file_size(size))
    console.print(table)


def headline(report: Report, size: int) -> str:
    """The page in one line."""
    return f"accuracy {report.metrics.accuracy:.2%}, {plural(len(report.gallery.heatmaps), 'image')}, {file_size(size)}"
