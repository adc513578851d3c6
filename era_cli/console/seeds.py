"""The runs of several seeds on a terminal: each of them, mean and deviation."""

from __future__ import annotations

from rich.console import Console

from era_cli.console import tables
from era_cli.console.terminal import duration, printable
from era_cli.results import SeedResults


def print_seeds(console: Console, found: SeedResults) -> None:
    """Prints a row per run, then mean and sample standard deviation of the test accuracy."""
    table = tables.titled(f"{len(found.seeds)} seeds")
    table.add_column("run", overflow="fold")
    for figure in ("seed", "validation", "test accuracy", "time"):
        table.add_column(figure, justify="right", no_wrap=True)
    for run, seed, result in zip(found.runs, found.seeds, found.results, strict=True):
        validation = "-" if result.best_val_acc is None else f"{result.best_val_acc:.2%}"
        table.add_row(printable(str(run)), str(seed), validation, f"{result.test_acc:.2%}", duration(result.seconds))
    table.add_section()
    table.add_row("mean", "", "", f"{found.mean:.2%}", "", style="bold")
    if found.deviation is not None:
        table.add_row("standard deviation", "", "", f"{100 * found.deviation:.2f} points", "", style="bold")
    console.print(table)
