"""The tables that commands print, and how wide a name may be in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from era_cli.console.terminal import printable

_LONGEST_NAME = 24  # columns
_FIGURES = 32  # columns of the figures beside names, and of the space between


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


def add_images(table: Table, names: Sequence[str], longest: int) -> list[Text]:
    """Adds a column for what images are called, which keeps its width; returns the names for it, or their ends."""
    shown = [printable(name if len(name) <= longest else "…" + name[1 - longest :]) for name in names]
    table.add_column("image", no_wrap=True, min_width=max((text.cell_len for text in shown), default=0))
    return shown


def longest_name(console: Console, names: int = 2) -> int:
    """The columns that a name may take in a table of so many of them beside a few figures."""
    return min(_LONGEST_NAME, (console.width - _FIGURES) // names)
