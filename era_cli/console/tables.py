"""The tables that commands print. Where one is wider than the terminal, names are folded: none is cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from era_cli.console.terminal import UNLIMITED, printable


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """One name and one fact per line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, fact in rows:
        table.add_row(name, printable(fact))
    return table


def titled(title: str) -> Table:
    """A table below a bold title."""
    return Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")


def add_names(table: Table, *columns: str) -> None:
    """Adds columns for names of classes, files or runs."""
    for column in columns:
        table.add_column(column, overflow="fold", min_width=len(column))


def add_numbers(table: Table, *columns: str) -> None:
    """Adds columns for numbers, which are never broken."""
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True, min_width=len(column))


def drop_to_fit(console: Console, table: Table, columns: Sequence[int]) -> Table:
    """The table, without as many of these columns (by index, the last first) as it takes to break no word.

    If that takes more than these, none is dropped.
    """
    unlimited = console.options.update(width=UNLIMITED)
    whole = list(table.columns)
    for column in (*columns, None):
        if console.measure(table, options=unlimited).minimum <= console.width:
            return table
        if column is not None:
            del table.columns[column]
    table.columns = whole
    return table
