"""The tables that commands print. Where one is wider than the terminal, names are folded: none is cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

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


def setting(value: Any) -> str:
    """The value of a hyper-parameter: yes, -, 0.1, cos."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def image_name(console: Console, name: str) -> Text:
    """A file's name for a cell; one that takes more than a third of the terminal is broken after its slashes."""
    text = printable(name)
    return text if text.cell_len <= console.width // 3 else Text("\n").join(text.split("/", include_separator=True))


def drop_to_fit(console: Console, table: Table, columns: Sequence[int]) -> Table:
    """The table, without as many of these columns (by index, the last first) as it takes to break no word.

    If that takes more than these, none is dropped.
    """
    whole = list(table.columns)
    for column in (*columns, None):
        if (widths := _widths(console, table)) is not None:
            for kept, width in zip(table.columns, widths, strict=True):
                kept.width = width
            return table
        if column is not None:
            del table.columns[column]
    table.columns = whole
    return table


def _widths(console: Console, table: Table) -> list[int] | None:
    """Widths of the columns that break no word, or None; Rich itself narrows the widest first, whatever its words."""
    unlimited = console.options.update(width=UNLIMITED)
    widths, wanted = [], []
    for column in table.columns:
        cells = [console.measure(cell, options=unlimited) for cell in (column.header, *column.cells)]
        wanted.append(max(cell.maximum for cell in cells))
        widths.append(wanted[-1] if column.no_wrap else max(cell.minimum for cell in cells))
    spare = console.width - (console.measure(table, options=unlimited).maximum - sum(wanted)) - sum(widths)
    if spare < 0:
        return None
    for place, width in enumerate(wanted):
        more = min(spare, width - widths[place])
        widths[place] += more
        spare -= more
    return widths
