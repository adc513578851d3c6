"""Runs on a terminal: a row each, or everything about one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from era_cli.console import rows, tables
from era_cli.console.rows import Column
from era_cli.console.terminal import duration, printable
from era_cli.results import RunDetails, RunFile, RunSummary, Slimmed
from era_cli.text import one_line, plural, shortened

_STYLES = {"running": "green", "interrupted": "yellow", "failed": "red", "unreadable": "red"}
_LONGEST_TIME = 3.6e9 - 1  # seconds: a million hours


def print_runs(console: Console, runs: Sequence[RunSummary]) -> None:
    """Prints a row per run, how many there are, and what is wrong with those that cannot be read."""
    columns = [
        Column("run", [run.name for run in runs], folds_to=14),
        Column("data", [_data(run) for run in runs], folds_to=12, goes=4),
        Column("recipe", [recipe(run) for run in runs], folds_to=22, goes=3),
        Column("epochs", [_epochs(run) for run in runs], is_number=True, goes=2),
        Column("status", [run.status for run in runs], styles=_STYLES),
        Column("val", [_percent(run.val_acc) for run in runs], is_number=True, goes=1),
        Column("test", [_percent(run.test_acc) for run in runs], is_number=True),
        Column("time", ["-" if run.seconds is None else _time(run.seconds) for run in runs], is_number=True, goes=5),
        Column("size", [_size(run.size) for run in runs], is_number=True, goes=6),
    ]
    rows.print_rows(console, "Runs", columns)
    console.print(f"{plural(len(runs), 'run')}, {_size(sum(run.size for run in runs))}")
    for run in runs:
        if run.problem is not None:
            console.print(printable(one_line(run.problem), "yellow"), soft_wrap=not console.is_terminal)


def print_run(console: Console, header: Sequence[tuple[str, str]], details: RunDetails) -> None:
    """Prints the facts of `header`, the recipe with what differs from its named one, and every file."""
    console.print(tables.facts(header))
    console.print(_recipe(details))
    console.print(_files(details.files))


def print_slimmed(console: Console, header: Sequence[tuple[str, str]], slimmed: Slimmed) -> None:
    """Prints the facts of `header` and what is gone."""
    table = tables.facts(header)
    table.add_row("removed", ", ".join(slimmed.removed) or "nothing: the run is slim already")
    table.add_row("freed", freed(slimmed))
    console.print(table)


def freed(slimmed: Slimmed) -> str:
    """How much smaller a run is."""
    return f"{_size(slimmed.freed)}, {_size(slimmed.left)} left"


def headline(run: RunSummary) -> str:
    """The run in one line."""
    facts = [run.status, f"{_epochs(run)} epochs"]
    if run.val_acc is not None:
        facts.append(f"validation {_percent(run.val_acc)}")
    if run.test_acc is not None:
        facts.append(f"test {_percent(run.test_acc)}")
    return f"{run.name}: {', '.join(facts)}"


def recipe(run: RunSummary) -> str:
    """The named recipe and what differs from it: default, epochs 10, nesterov no."""
    if run.recipe is None:
        return "-"
    return ", ".join([run.recipe, *(f"{name} {tables.setting(value)}" for name, value in (run.changes or {}).items())])


def _data(run: RunSummary) -> str:
    """What a run was trained on; of a folder its name."""
    return "-" if run.source is None else shortened(Path(run.source).name or run.source, 40)


def _epochs(run: RunSummary) -> str:
    if run.planned_epochs is None:
        return "-"
    return f"{'?' if run.epochs is None else run.epochs}/{run.planned_epochs}"


def _recipe(details: RunDetails) -> Table:
    usual, changes = details.usual, details.summary.changes or {}
    table = tables.titled(f"Recipe: {details.recipe.name}")
    tables.add_names(table, "setting")
    table.add_column("value")
    table.add_column("instead of")
    for name, value in vars(details.recipe).items():
        if name == "name":
            continue
        changed = name in changes
        by_data = "decided by the data" if value != getattr(usual, name) else ""
        instead = tables.setting(getattr(usual, name)) if changed else by_data
        style = "bold" if changed else ""
        table.add_row(printable(name, style), printable(tables.setting(value), style), printable(instead, style))
    return table


def _files(files: Sequence[RunFile]) -> Table:
    table = tables.titled("Files")
    tables.add_names(table, "file", "what")
    tables.add_numbers(table, "size")
    for file in files:
        table.add_row(printable(file.path), file.title or "-", _size(file.size))
    return table


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.2%}"


def _time(seconds: float) -> str:
    return duration(min(seconds, _LONGEST_TIME))


def _size(size: int) -> str:
    """9 kB, 105 MB or 1.2 GB."""
    if size < 1e6:
        return f"{-(-size // 1000)} kB"
    return f"{size / 1e6:,.0f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"
