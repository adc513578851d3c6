from __future__ import annotations

import csv
import unicodedata
from collections.abc import Sequence
from pathlib import Path

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


def test_columns_come_first_and_lines_end_alike(tmp_path: Path) -> None:
    spreadsheet.write(tmp_path / "a.csv", ("index", "file"), [(3, "b.png"), (1, "猫.png")])
    assert (tmp_path / "a.csv").read_bytes() == "index,file\n3,b.png\n1,猫.png\n".encode()


# What OWASP's "CSV Injection" names, and the full-width forms of it.
STARTS = ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"]


@pytest.mark.parametrize("start", STARTS, ids=[unicodedata.name(start, f"U+{ord(start):04X}") for start in STARTS])
def test_a_formula_gets_a_quote_before_it(tmp_path: Path, start: str) -> None:
    for text in (start, f"{start}cmd|' /C calc'!A0", f'{start}HYPERLINK("x";"y"),1'):
        assert written(tmp_path, ("cat", text, 0.5), (text, "dog", 1)) == [
            ["cat", f"'{text}", "0.5"],
            [f"'{text}", "dog", "1"],
        ]


@pytest.mark.parametrize("text", ["a=b", "cat-1", "1", " x", "'", "", "a\t", "x@y"])
def test_other_text_stays(tmp_path: Path, text: str) -> None:
    assert written(tmp_path, ("a", text, "b")) == [["a", text, "b"]]


@pytest.mark.parametrize(
    "text", ["a,b", 'he said "no"', '"', '""', "two\nlines", "\n", "a;b", "a\rb", "a\r\nb", "x\r=1"]
)
def test_separators_stay_within_their_cell(tmp_path: Path, text: str) -> None:
    quoted = f"'{text}" if text[0] == "\n" else text
    assert written(tmp_path, ("before", text, "after"), (text, "x", "y")) == [
        ["before", quoted, "after"],
        [quoted, "x", "y"],
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(), st.text(max_size=4)), min_size=1, max_size=8))
@example([("\r", "=1")])
def test_no_text_leaves_its_cell_or_is_a_formula(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    for row, (one, other) in zip(rows, written(tmp_path, *rows), strict=True):
        for text, cell in zip(row, (one, other), strict=True):
            assert cell in (text, f"'{text}")
            assert not cell.startswith(tuple(STARTS))


def test_a_file_name_that_is_not_utf_8(tmp_path: Path) -> None:
    name = b"caf\xe9, 1.png".decode(errors="surrogateescape")
    assert written(tmp_path, (name, "b")) == [["caf\\udce9, 1.png", "b"]]


def test_none_is_an_empty_cell(tmp_path: Path) -> None:
    assert written(tmp_path, (None, "a", None), (1, None, 2)) == [["", "a", ""], ["1", "", "2"]]


def test_negative_numbers_are_not_quoted(tmp_path: Path) -> None:
    spreadsheet.write(tmp_path / "a.csv", ("a", "b", "c"), [(-1, -0.25, -1e-20)])
    assert (tmp_path / "a.csv").read_bytes() == b"a,b,c\n-1,-0.25,-1e-20\n"


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_a_float_keeps_every_digit(tmp_path: Path, values: list[float]) -> None:
    assert [float(cell) for cell, _ in written(tmp_path, *((value, 0) for value in values))] == values


# Whole or not at all


def test_a_full_disk_leaves_the_old_table(tiny_disk: Path) -> None:
    spreadsheet.write(tiny_disk / "a.csv", ("a",), [("old",)])
    with pytest.raises(EraError, match="No space left"):
        spreadsheet.write(tiny_disk / "a.csv", ("a",), (("x" * 300,) for _ in range(1_000)))
    assert read(tiny_disk / "a.csv") == [["a"], ["old"]]
    assert [path.name for path in tiny_disk.iterdir()] == ["a.csv"]
