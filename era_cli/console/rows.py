"""A table of any number of rows, which Rich would take seconds to lay out: a thousand in a tenth of one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from era_cli.text import without_controls

_GAP = 2  # columns before each cell and after the last, as in Rich's tables
_SHORTEST = 4  # columns of a name on a terminal that is too narrow for anything


@dataclass
class Column:
    """A column: its cells, one per row.

    Where the table is wider than the terminal, a column that `folds_to` some width is folded to it at most, and those
    that have a number in `goes` are left out, the highest first. `styles` are those of some cells, by their text.
    """

    header: str
    cells: Sequence[str]
    is_number: bool = False
    folds_to: int | None = None
    goes: int = 0
    styles: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cells = [without_controls(cell) for cell in self.cells]
        self.width = max(map(cell_len, (self.header, *self.cells)))

    @property
    def narrowest(self) -> int:
        """The columns that it takes at least."""
        return self.width if self.folds_to is None else min(self.width, max(self.folds_to, cell_len(self.header)))


def print_rows(console: Console, title: str, columns: Sequence[Column]) -> None:
    """Prints the table as wide as the terminal allows; no cell is cut."""
    shown, widths = _fitted(columns, console.width)
    text = Text().append(f"{title}\n\n", "bold")
    _append(text, console, shown, widths, [column.header for column in shown], "bold")
    text.append(" " + "─" * (sum(widths) + _GAP * len(widths)) + "\n")
    for row in range(len(shown[0].cells)):
        _append(text, console, shown, widths, [column.cells[row] for column in shown])
    console.print(text, soft_wrap=True)


def _append(
    text: Text,
    console: Console,
    columns: Sequence[Column],
    widths: Sequence[int],
    cells: Sequence[str],
    style: str = "",
) -> None:
    """Adds a row, which takes several lines where a cell is folded."""
    folded = [_folded(console, cell, width) for cell, width in zip(cells, widths, strict=True)]
    for line in range(max(map(len, folded))):
        for column, width, parts in zip(columns, widths, folded, strict=True):
            part = parts[line] if line < len(parts) else ""
            space = " " * (width - cell_len(part))
            text.append(" " * _GAP)
            if column.is_number:
                text.append(space)
            text.append(part, style or column.styles.get(part, ""))
            if not column.is_number:
                text.append(space)
        text.append("\n")


def _folded(console: Console, cell: str, width: int) -> list[str]:
    if cell_len(cell) <= width:
        return [cell]
    lines = [""]
    for part in re.split(r"(?<=,) ", cell):  # a name stays beside its value
        joined = f"{lines[-1]} {part}" if lines[-1] else part
        if cell_len(joined) <= width:
            lines[-1] = joined
        else:
            lines += [line.plain.rstrip() for line in Text(part).wrap(console, width, overflow="fold")]
    return [line for line in lines if line]


def _fitted(columns: Sequence[Column], width: int) -> tuple[list[Column], list[int]]:
    """The columns that fit into `width`, and the width of each."""
    shown = list(columns)
    while (spare := _spare(shown, width)) < 0:
        optional = [column for column in shown if column.goes]
        if not optional:
            break
        shown.remove(max(optional, key=lambda column: column.goes))
    widths = []
    for column in shown:
        own = column.narrowest
        if spare < 0 and column.folds_to is not None:
            own = max(_SHORTEST, own + spare)
            spare += column.narrowest - own
        elif spare > 0:
            own = min(column.width, own + spare)
            spare -= own - column.narrowest
        widths.append(own)
    return shown, widths


def _spare(columns: Sequence[Column], width: int) -> int:
    """What is left of `width` if every column is as narrow as it can be."""
    return width - sum(_GAP + column.narrowest for column in columns) - _GAP
