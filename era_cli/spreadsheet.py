"""Tables as CSV that spreadsheets may open. Loads no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from era_cli.files import atomic_write

Cell = str | int | float | None

# A spreadsheet takes a cell that starts with one of these for a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Writes a table to `path` in UTF-8, whole or not at all; text that would be a formula is prefixed with a quote.

    Raises:
        EraError: it cannot be written.
    """
    lines = [_line(columns), *(_line([_safe(cell) for cell in row]) for row in rows)]
    with atomic_write(path) as file:
        file.write("".join(lines).encode(errors="backslashreplace"))  # a file name may not be UTF-8


def _line(cells: Sequence[Cell]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # quotes what its line ends are made of, and no more
    return text.getvalue().removesuffix("\r\n") + "\n"


def _safe(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
