"""Runs over time in numbers: how far each came, and its best epoch."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from era_cli.console import tables
from era_cli.console.terminal import printable
from era_cli.results import Curves


def print_curves(console: Console, runs: Sequence[Curves]) -> None:
    """Prints a row per run."""
    table = tables.titled("Runs")
    tables.add_names(table, "run")
    table.add_column("status", no_wrap=True)
    tables.add_numbers(table, "epochs", "best", "val", "test")
    for run in runs:
        table.add_row(
            printable(run.name),
            run.status,
            f"{len(run.epochs)}/{run.planned_epochs}",
            "-" if run.best is None or run.val_acc is None else f"{run.best.epoch}",
            "-" if run.val_acc is None else f"{run.val_acc:.2%}",
            "-" if run.test_acc is None else f"{run.test_acc:.2%}",
        )
    console.print(table)
    for run in runs:
        if run.test_sample:
            console.print(printable(f"{run.name} was tested on {run.test_sample} test images."))


def headline(runs: Sequence[Curves]) -> str:
    """The result in one line: of several runs, the one with the highest validation accuracy."""
    if len(runs) > 1:
        best = max(runs, key=lambda run: run.val_acc or 0)
        return f"{len(runs)} runs, best {headline([best])}"
    (run,) = runs
    facts = [f"{len(run.epochs)}/{run.planned_epochs} epochs"]
    if run.best is not None and run.best.val_acc is not None:
        facts.append(f"best epoch {run.best.epoch}, validation {run.best.val_acc:.2%}")
    if run.test_acc is not None:
        facts.append(f"test {run.test_acc:.2%}" + (f" ({run.test_sample} images)" if run.test_sample else ""))
    return f"{run.name}: {', '.join(facts)}"
