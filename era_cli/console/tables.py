"""The tables that commands print, and how wide a name may be in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from era_cli.console.terminal import printable

_LONGEST_NAME = 24  # columns
_NUMBERS = 32  # columns of the numbers beside names, and of the space between


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


def add_images(table: Table, names: Sequence[str], longest: int) -> list[Text]:
    """Adds a column for image names, which keeps its width; returns the names, long ones cut at their start."""
    shown = [printable(name if len(name) <= longest else "…" + name[1 - longest :]) for name in names]
    table.add_column("image", no_wrap=True, min_width=max((text.cell_len for text in shown), default=0))
    return shown


def longest_name(console: Console, names: int = 2, beside: int = 0) -> int:
    """The columns available for each of `names` names beside a few numbers and `beside` more columns."""
    return min(_LONGEST_NAME, (console.width - _NUMBERS - beside) // names)
