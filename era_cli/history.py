"""metrics.csv and steps.csv: append, read, and cut back to a checkpoint. Loads no torch."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from era_cli.errors import EraError
from era_cli.files import append_text, atomic_write_text
from era_cli.results import EpochRow, StepRow

Row = TypeVar("Row", EpochRow, StepRow)


def append(path: Path, rows: Sequence[EpochRow] | Sequence[StepRow]) -> None:
    """Adds `rows` to the file, and the header where it is new; on return they are on the disk.

    Raises:
        EraError: the rows could not be written.
    """
    if rows:
        header = "" if path.exists() and path.stat().st_size else _header(type(rows[0]))
        append_text(path, header + _lines(rows))


def read(path: Path, row_type: type[Row]) -> list[Row]:
    """The sound rows of the file, in order; none where it is absent.

    A last line without its newline was torn by a crash, and is left out.

    Raises:
        EraError: a line in the middle is not a row.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    text = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(io.StringIO(text))
    try:
        return [_parse(cells, row_type) for cells in reader]
    except (KeyError, TypeError, ValueError) as error:
        raise EraError(f"line {reader.line_num} of {path} is damaged: restore the file from a copy") from error


def rewrite(path: Path, rows: list[EpochRow] | list[StepRow]) -> None:
    """Replaces the file by `rows`, whole or not at all; no rows, no file."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    atomic_write_text(path, _header(type(rows[0])) + _lines(rows))


def best(rows: Iterable[EpochRow]) -> EpochRow:
    """The row of the highest validation accuracy, the lower loss deciding; without validation the last.

    Raises:
        ValueError: there is no row.
    """
    rows = list(rows)
    validated = [row for row in rows if row.val_acc is not None and row.val_loss is not None]
    if not validated:
        if not rows:
            raise ValueError("no epoch")
        return rows[-1]
    return max(validated, key=lambda row: (row.val_acc, -_or_infinity(row.val_loss), -row.epoch))


def _or_infinity(loss: float | None) -> float:
    return math.inf if loss is None or math.isnan(loss) else loss


def _header(row_type: type[Any]) -> str:
    return ",".join(spec.name for spec in dataclasses.fields(row_type)) + "\n"


def _lines(rows: Iterable[EpochRow] | Iterable[StepRow]) -> str:
    return "".join(",".join(map(_cell, dataclasses.astuple(row))) + "\n" for row in rows)


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    # repr keeps every digit, so that a figure read back is the figure computed.
    return repr(float(value)) if isinstance(value, float) else str(value)


def _parse(cells: dict[str, str], row_type: type[Row]) -> Row:
    if None in cells:  # csv puts there what is past the last column
        raise ValueError("too many cells")
    values: dict[str, Any] = {}
    for spec in dataclasses.fields(row_type):
        cell = cells[spec.name]
        values[spec.name] = int(cell) if spec.type == "int" else float(cell) if cell or spec.type == "float" else None
    return row_type(**values)
