from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from era_cli import spreadsheet
from era_cli.errors import EraError
from era_cli.spreadsheet import Cell


def read(path: Path) -> list[list[str]]:
    """Every cell, by Python's reader."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def written(tmp_path: Path, *rows: Sequence[Cell]) -> list[list[str]]:
    """The cells of `rows` as they are read back."""
    spreadsheet.write(tmp_path / "a.csv", [f"c{place}" for place in range(len(rows[0]))], rows)
    return read(tmp_path / "a.csv")[1:]


def test_the_columns_come_first_and_every_line_ends_alike(tmp_path: Path) -> None:
    spreadsheet.write(tmp_path / "a.csv", ("index", "file"), [(3, "b.png"), (1, "猫.png")])
    assert (tmp_path / "a.csv").read_bytes() == "index,file\n3,b.png\n1,猫.png\n".encode()


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    spreadsheet.write(tmp_path / "a.csv", ("index", "file"), [])
    assert (tmp_path / "a.csv").read_bytes() == b"index,file\n"


# What OWASP's "CSV Injection" names, and the full-width forms of it.
STARTS = ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"]


@pytest.mark.parametrize("start", STARTS, ids=[unicodedata.name(start, f"U+{ord(start):04X}") for start in STARTS])
def test_text_that_would_be_a_formula_gets_a_quote_before_it(tmp_path: Path, start: str) -> None:
    for text in (start, f"{start}cmd|' /C calc'!A0", f'{start}HYPERLINK("x";"y"),1'):
        assert written(tmp_path, ("cat", text, 0.5), (text, "dog", 1)) == [
            ["cat", f"'{text}", "0.5"],
            [f"'{text}", "dog", "1"],
        ]


@pytest.mark.parametrize("text", ["a=b", "cat-1", "1", " x", "'", "", "a\t", "x@y"])
def test_any_other_text_stays_as_it_is(tmp_path: Path, text: str) -> None:
    assert written(tmp_path, ("a", text, "b")) == [["a", text, "b"]]


@pytest.mark.parametrize(
    "text", ["a,b", 'he said "no"', '"', '""', "two\nlines", "\n", "a;b", "a\rb", "a\r\nb", "x\r=1"]
)
def test_what_separates_cells_and_lines_stays_within_its_cell(tmp_path: Path, text: str) -> None:
    quoted = f"'{text}" if text[0] == "\n" else text
    assert written(tmp_path, ("before", text, "after"), (text, "x", "y")) == [
        ["before", quoted, "after"],
        [quoted, "x", "y"],
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(), st.text(max_size=4)), min_size=1, max_size=8))
@example([("\r", "=1")])
def test_any_text_comes_back_in_its_own_cell_and_none_is_a_formula(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    for row, (one, other) in zip(rows, written(tmp_path, *rows), strict=True):
        for text, cell in zip(row, (one, other), strict=True):
            assert cell in (text, f"'{text}")
            assert not cell.startswith(tuple(STARTS))


def test_a_file_name_that_is_no_utf_8_is_written_with_its_byte_spelt_out(tmp_path: Path) -> None:
    name = b"caf\xe9, 1.png".decode(errors="surrogateescape")
    assert written(tmp_path, (name, "b")) == [["caf\\udce9, 1.png", "b"]]


def test_none_is_an_empty_cell(tmp_path: Path) -> None:
    assert written(tmp_path, (None, "a", None), (1, None, 2)) == [["", "a", ""], ["1", "", "2"]]


def test_numbers_are_never_quoted_even_if_they_are_negative(tmp_path: Path) -> None:
    spreadsheet.write(tmp_path / "a.csv", ("a", "b", "c"), [(-1, -0.25, -1e-20)])
    assert (tmp_path / "a.csv").read_bytes() == b"a,b,c\n-1,-0.25,-1e-20\n"


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_a_float_keeps_every_digit(tmp_path: Path, values: list[float]) -> None:
    assert [float(cell) for cell, _ in written(tmp_path, *((value, 0) for value in values))] == values


# Whole or not at all


def test_a_row_that_cannot_be_made_leaves_the_old_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old", encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        spreadsheet.write(tmp_path / "a.csv", ("a",), ((1 / place,) for place in (2, 1, 0)))
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_table_that_cannot_get_its_name_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(self: Path, target: Path) -> NoReturn:
        raise OSError(28, os.strerror(28))

    (tmp_path / "a.csv").write_text("old", encoding="utf-8")
    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(EraError, match=r"a\.csv cannot be written"):
        spreadsheet.write(tmp_path / "a.csv", ("a",), [(1,)])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_full_disk_leaves_the_old_table(tiny_disk: Path) -> None:
    spreadsheet.write(tiny_disk / "a.csv", ("a",), [("old",)])
    with pytest.raises(EraError, match="No space left"):
        spreadsheet.write(tiny_disk / "a.csv", ("a",), (("x" * 300,) for _ in range(1_000)))
    assert read(tiny_disk / "a.csv") == [["a"], ["old"]]
    assert [path.name for path in tiny_disk.iterdir()] == ["a.csv"]
