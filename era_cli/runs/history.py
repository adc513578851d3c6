"""metrics.csv and steps.csv: append, read, and cut back to a checkpoint. Loads no torch."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from era_cli.errors import EraError
from era_cli.files import append_text, atomic_write_text
from era_cli.regular_file import open_regular, read_regular
from era_cli.results import EpochRow, StepRow

_MOST_BYTES = 500_000_000  # of a file: ten million steps
_LAST_NUMBER = 2**53  # of an epoch or a step, up to which float64 counts exactly
_LARGEST = 1e100  # figure of a row, apart from infinity: a plot cannot have an axis for more

Row = TypeVar("Row", EpochRow, StepRow)


class LeftOut(NamedTuple):
    """A line of a file that is not a row: its number from 1, and whether it is whole (has its newline)."""

    path: Path
    number: int
    whole: bool

    def __str__(self) -> str:
        return f"line {self.number} of {self.path}, which is {'damaged' if self.whole else 'incomplete'}"


def append(path: Path, rows: Sequence[EpochRow] | Sequence[StepRow]) -> None:
    """Adds `rows` to the file, and the header where it is new; on return they are on the disk.

    Raises:
        EraError: the rows could not be written.
    """
    if rows:
        header = "" if path.exists() and path.stat().st_size else _header(type(rows[0]))
        append_text(path, header + _lines(rows))


def read(path: Path, row_type: type[Row]) -> list[Row]:
    """The valid rows of the file, in order; none where it is absent.

    A last line without its newline was cut off by a crash, and is left out.

    Raises:
        EraError: a line in the middle is not a row; it cannot be read, or is not a file.
    """
    rows, left_out = salvage(path, row_type)
    if damaged := [line for line in left_out if line.whole]:
        raise EraError(f"line {damaged[0].number} of {path} is damaged: restore the file from a copy")
    return rows


def salvage(path: Path, row_type: type[Row], *, most: int = _MOST_BYTES) -> tuple[list[Row], list[LeftOut]]:
    """The valid rows of the file, in order, and the lines that are not rows; nothing where it is absent.

    What a spreadsheet makes of it is read, too: a byte-order mark, CRLF, quoted cells.

    Raises:
        EraError: it cannot be read, is not a file, or is larger than `most` bytes.
    """
    text = _text(path, most)
    names = [spec.name for spec in dataclasses.fields(row_type)]
    readers = [_READERS[str(spec.type)] for spec in dataclasses.fields(row_type)]
    rows: list[Row] = []
    left_out: list[LeftOut] = []
    for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
        whole = line.endswith("\n")
        try:
            cells = next(csv.reader([line]), [])
            if number == 1 and whole and cells == names:
                continue
            if not whole or number == 1:
                raise ValueError("incomplete, or no header")
            values: list[Any] = [reader(cell) for reader, cell in zip(readers, cells, strict=True)]
            rows.append(row_type(**dict(zip(names, values, strict=True))))
        except (ValueError, csv.Error):
            left_out.append(LeftOut(path, number, whole))
    return rows, left_out


def columns(path: Path, row_type: type[Row]) -> tuple[npt.NDArray[np.float64], list[LeftOut]]:
    """What `salvage` gives, as an array (N, fields): many times faster where every line is valid.

    For rows whose cells are all numbers.

    Raises:
        EraError: it cannot be read, or is not a file.
    """
    names = [spec.name for spec in dataclasses.fields(row_type)]
    header, _, body = _text(path).partition("\n")
    if header.rstrip("\r") == ",".join(names) and body.strip() and body.endswith("\n"):
        with contextlib.suppress(ValueError):
            table = np.loadtxt(io.StringIO(body), delimiter=",", comments=None, ndmin=2)
            drawable = (np.abs(table) <= _LARGEST) | ~np.isfinite(table)
            if table.shape[1] == len(names) and drawable.all() and (np.abs(table[:, 0]) <= _LAST_NUMBER).all():
                return table, []
    rows, left_out = salvage(path, row_type)
    return np.array([dataclasses.astuple(row) for row in rows], np.float64).reshape(-1, len(names)), left_out


def restore(path: Path, rows: list[EpochRow] | list[StepRow]) -> bool:
    """Makes the file hold `rows` and nothing more; whether it began with them to the byte.

    Raises:
        EraError: the file could not be written.
    """
    expected = (_header(type(rows[0])) + _lines(rows)).encode() if rows else b""
    try:
        with open_regular(path) as file:
            present = file.read(len(expected) + 1)
    except OSError:
        present = b""
    if not expected:
        path.unlink(missing_ok=True)
    elif present != expected:
        atomic_write_text(path, expected.decode())
    return present.startswith(expected)


def _header(row_type: type[Any]) -> str:
    return ",".join(spec.name for spec in dataclasses.fields(row_type)) + "\n"


def _lines(rows: Iterable[EpochRow] | Iterable[StepRow]) -> str:
    return "".join(",".join(map(_cell, dataclasses.astuple(row))) + "\n" for row in rows)


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    # repr keeps every digit, so that a figure read back is the figure computed.
    return repr(float(value)) if isinstance(value, float) else str(value)


def _text(path: Path, most: int = _MOST_BYTES) -> str:
    """The content of the file; empty where it is absent."""
    try:
        return read_regular(path, most).decode("utf-8-sig", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise EraError(f"{path} cannot be read ({error.strerror or error}): restore it from a backup") from error


def _whole(cell: str) -> int:
    if not 0 < (number := int(cell)) <= _LAST_NUMBER:
        raise ValueError("not the number of an epoch or a step")
    return number


def _figure(cell: str) -> float:
    if _LARGEST < abs(figure := float(cell)) < math.inf:
        raise ValueError("larger than any value in training")
    return figure


_READERS: dict[str, Callable[[str], float | None]] = {
    "int": _whole,
    "float": _figure,
    "float | None": lambda cell: _figure(cell) if cell else None,
}
