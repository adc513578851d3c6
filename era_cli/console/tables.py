"""The tables that commands print, and how wide a name may be in them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from era_cli.terminal import printable

_LONGEST_NAME, _SHORT_NAME = 24, 14  # columns of a class name on a terminal of more than _NARROW columns, and on others
_NARROW = 72


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """What a result is of, and its figures: a name and a fact a line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, fact in rows:
        table.add_row(name, printable(fact))
    return table


def titled(title: str) -> Table:
    """A table below a bold title."""
    return Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")


def longest_name(console: Console) -> int:
    """The columns that a class name may take."""
    return _LONGEST_NAME if console.width > _NARROW else _SHORT_NAME
