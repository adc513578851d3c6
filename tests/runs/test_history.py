from __future__ import annotations

import math
import os
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from era_cli.errors import EraError
from era_cli.results import EpochRow, StepRow
from era_cli.runs import history
from tests.support import epoch_row as row

HEADER = "epoch,train_loss,train_acc,val_loss,val_acc,lr,seconds,images_per_second\n"


FLOATS = st.floats(-1e100, 1e100) | st.sampled_from([math.inf, -math.inf])
EPOCH_ROWS = st.builds(
    EpochRow,
    epoch=st.integers(1, 10_000),
    train_loss=FLOATS,
    train_acc=FLOATS,
    val_loss=st.none() | FLOATS,
    val_acc=st.none() | FLOATS,
    lr=FLOATS,
    seconds=FLOATS,
    images_per_second=FLOATS,
)
STEP_ROWS = st.builds(StepRow, step=st.integers(1, 10**9), lr=FLOATS, loss=FLOATS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.csv"


# Round trip


@settings(max_examples=50, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(EPOCH_ROWS, max_size=5))
def test_epochs_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, rows: list[EpochRow]) -> None:
    path = tmp_path_factory.mktemp("history") / "metrics.csv"
    history.append(path, rows)
    assert history.read(path, EpochRow) == rows
    history.restore(path, rows[1:])
    assert history.read(path, EpochRow) == rows[1:]


@settings(max_examples=50, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(STEP_ROWS, max_size=5))
def test_steps_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, rows: list[StepRow]) -> None:
    path = tmp_path_factory.mktemp("history") / "steps.csv"
    history.append(path, rows)
    assert history.read(path, StepRow) == rows


def test_types_and_nan_come_back_too(path: Path) -> None:
    history.append(path, [replace(row(1, None, None), train_loss=math.nan)])
    (back,) = history.read(path, EpochRow)
    assert [type(value) for value in astuple(back)] == [type(value) for value in astuple(row(1, None, None))]
    assert math.isnan(back.train_loss)


def test_numpy_floats_are_written_as_numbers(path: Path) -> None:
    # np.float64 is a float, and its repr since NumPy 2 is "np.float64(0.5)".
    history.append(path, [replace(row(1), train_loss=np.float64(0.5), val_acc=np.float64(0.25))])
    assert history.read(path, EpochRow) == [replace(row(1), train_loss=0.5, val_acc=0.25)]


# Appending


def test_the_header_is_written_once_and_the_rows_in_order(path: Path) -> None:
    history.append(path, [row(1)])
    history.append(path, [row(2), row(3, None, None)])
    assert path.read_bytes().decode() == (
        HEADER
        + "1,2.5,0.25,1.0,0.5,0.1,12.5,4000.0\n"
        + "2,2.5,0.25,1.0,0.5,0.1,12.5,4000.0\n"
        + "3,2.5,0.25,,,0.1,12.5,4000.0\n"
    )


def test_appended_rows_are_on_the_disk_on_return(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    history.append(path, [row(1)])
    assert synced == [path.stat().st_size]


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(EraError, match="No such file"):
        history.append(tmp_path / "gone" / "metrics.csv", [row(1)])


# Reading what a crash left


def test_no_rows_make_no_file(path: Path) -> None:
    history.append(path, [])
    assert not path.exists()
    assert history.read(path, EpochRow) == []


def test_rows_before_an_incomplete_last_line_are_read(path: Path) -> None:
    history.append(path, [row(1), row(2)])
    whole = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        complete = sum(end <= length for end in ends)
        assert history.read(path, EpochRow) == [row(1), row(2)][: max(0, complete - 1)], length


def test_restoring_drops_an_incomplete_last_line(path: Path) -> None:
    history.append(path, [row(1), row(2)])
    path.write_bytes(path.read_bytes()[:-5])
    history.restore(path, history.read(path, EpochRow))
    history.append(path, [row(2)])
    assert history.read(path, EpochRow) == [row(1), row(2)]


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(b"2,2.5,0.25\n", id="too-few-cells"),
        pytest.param(b"2,2.5,0.25,1.0,0.5,0.1,12.5,4000.0,7\n", id="too-many-cells"),
        pytest.param(b"2,2.5,0.25,1.0,0.5,0.1,12.5,402,2.5,0.25,1.0,0.5,0.1,12.5,4000.0\n", id="two-lines-in-one"),
        pytest.param(b"2,2.5,?,1.0,0.5,0.1,12.5,4000.0\n", id="no-number"),
        pytest.param(b"2,,0.25,1.0,0.5,0.1,12.5,4000.0\n", id="empty-where-a-number-must-be"),
        pytest.param(b"2.0,2.5,0.25,1.0,0.5,0.1,12.5,4000.0\n", id="no-whole-number"),
        pytest.param(b"2,2.5,\x00\x00\x00\x00,1.0,0.5,0.1,12.5,4000.0\n", id="zeros"),
        pytest.param(b"2,2.5,\xff\xfe,1.0,0.5,0.1,12.5,4000.0\n", id="not-utf-8"),
    ],
)
def test_a_damaged_line_in_the_middle_is_named(path: Path, damaged: bytes) -> None:
    history.append(path, [row(1)])
    good = path.read_bytes().splitlines(keepends=True)[1]
    path.write_bytes(path.read_bytes() + damaged + good.replace(b"1", b"3", 1))
    with pytest.raises(EraError, match="line 3 of ") as caught:
        history.read(path, EpochRow)
    assert str(path) in str(caught.value)


def test_a_file_of_other_columns_is_refused(path: Path) -> None:
    history.append(path, [StepRow(step=1, lr=0.1, loss=2.0)])
    with pytest.raises(EraError, match="damaged"):
        history.read(path, EpochRow)


# Restoring


def test_restoring_replaces_all_rows(path: Path) -> None:
    history.append(path, [row(1), row(2), row(3)])
    history.restore(path, [row(1)])
    assert path.read_text() == HEADER + "1,2.5,0.25,1.0,0.5,0.1,12.5,4000.0\n"
    for _ in range(2):
        history.restore(path, [])
        assert not path.exists()


@pytest.mark.parametrize(
    ("present", "as_it_was"),
    [
        (lambda whole: whole, True),
        (lambda whole: whole + b"3,2.5,0.", True),  # past the checkpoint
        (lambda whole: whole[:-1], False),
        (lambda whole: whole[:-20], False),
        (lambda whole: b"", False),
        (lambda whole: b"\xef\xbb\xbf" + whole, False),
        (lambda whole: whole.replace(b"\n", b"\r\n"), False),
        (lambda whole: whole.replace(b"0.25", b"0.26"), False),
        (lambda whole: b"".join(whole.splitlines(keepends=True)[1:]), False),
        (None, False),
    ],
    ids=["whole", "later", "no newline", "torn", "empty", "BOM", "CRLF", "changed", "no header", "gone"],
)
def test_whatever_a_file_holds_it_is_restored(path: Path, present: Any, as_it_was: bool) -> None:
    rows = [row(1), row(2, None, None)]
    history.restore(path, rows)
    whole = path.read_bytes()
    path.unlink() if present is None else path.write_bytes(present(whole))
    assert history.restore(path, rows) is as_it_was
    assert path.read_bytes() == whole


def test_a_restoring_that_fails_keeps_the_old_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError("disk full")

    history.append(path, [row(1), row(2)])
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(EraError, match="disk full"):
        history.restore(path, [row(1)])
    assert history.read(path, EpochRow) == [row(1), row(2)]
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


# Salvaging


def in_excel(text: str) -> bytes:
    """As spreadsheets save it."""
    lines = [",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()]
    return ("\ufeff" + "\r\n".join(lines) + "\r\n").encode()


def test_what_a_spreadsheet_saved_is_read(path: Path) -> None:
    history.append(path, [row(1), row(2, None, None)])
    path.write_bytes(in_excel(path.read_text()))
    assert history.salvage(path, EpochRow) == ([row(1), row(2, None, None)], [])
    steps = [StepRow(step=1, lr=0.1, loss=2.0), StepRow(step=2, lr=0.2, loss=1.0)]
    for saved in (in_excel, lambda text: ("\ufeff" + text.replace("\n", "\r\n")).encode()):
        history.restore(path, steps)
        path.write_bytes(saved(path.read_text()))
        table, left_out = history.columns(path, StepRow)
        assert (table.tolist(), left_out) == ([[1, 0.1, 2], [2, 0.2, 1]], [])


@pytest.mark.parametrize("cells", ["1e308,1", "-1e308,1", "1,1e101"])
@pytest.mark.parametrize("step", ["9" * 400, "9" * 5000, "-1", "1e50", "1"])
def test_impossible_figures_are_no_row(step: str, cells: str, path: Path) -> None:
    history.append(path, [StepRow(step=2, lr=0.1, loss=math.inf)])
    with path.open("a") as file:
        file.write(f"{step},{cells}\n")
    table, left_out = history.columns(path, StepRow)
    assert (table.tolist(), [line.number for line in left_out]) == ([[2, 0.1, math.inf]], [3])


def test_a_named_pipe_does_not_block(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(EraError, match="it is a named pipe"):
        history.read(path, EpochRow)


def test_a_sound_file_is_salvaged_whole(path: Path) -> None:
    assert history.salvage(path, EpochRow) == ([], [])
    path.touch()
    assert history.salvage(path, EpochRow) == ([], [])
    rows = [row(1), row(2, None, None), row(3)]
    history.append(path, rows)
    assert history.salvage(path, EpochRow) == (rows, [])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # as Windows ends lines
    assert history.salvage(path, EpochRow) == (rows, [])


def test_rows_around_damaged_lines_are_salvaged(path: Path) -> None:
    history.append(path, [row(epoch) for epoch in range(1, 6)])
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b"2,\xff\xfe\n"  # line 3 holds epoch 2
    lines[4] = b"\n"
    path.write_bytes(b"".join(lines)[:-4])
    rows, left_out = history.salvage(path, EpochRow)
    assert rows == [row(1), row(3)]
    assert left_out == [(path, 3, True), (path, 5, True), (path, 6, False)]
    assert list(map(str, left_out)) == [
        f"line 3 of {path}, which is damaged",
        f"line 5 of {path}, which is damaged",
        f"line 6 of {path}, which is incomplete",
    ]


def test_an_incomplete_last_line_is_left_out_though_readable(path: Path) -> None:
    history.append(path, [row(1), row(2)])
    path.write_bytes(incomplete := path.read_bytes()[:-3])  # 4000.0 became 4000
    assert history.salvage(path, EpochRow) == ([row(1)], [(path, 3, False)])
    assert path.read_bytes() == incomplete


@pytest.mark.parametrize("header", [b"\x00\x00\n", b"step,lr,loss\n", HEADER.upper().encode()])
def test_a_damaged_header_costs_no_row(path: Path, header: bytes) -> None:
    history.append(path, [row(1), row(2)])
    path.write_bytes(header + path.read_bytes().partition(b"\n")[2])
    assert history.salvage(path, EpochRow) == ([row(1), row(2)], [(path, 1, True)])


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "step,lr,loss\n",
        "step,lr,loss\n1,0.1,2.5\n2,0.30000000000000004,nan\n",
        "step,lr,loss\n1,0.1,2.5\n2,0.2",
        "step,lr,loss\n1,0.1,2.5\nx,y,z\n3,0.2,1.5\n",
        "step,lr,loss\n1,0.1,2.5,9\n2,0.1,2.5,9\n",
        "lr,step,loss\n1,0.1,2.5\n",
        "step,lr,loss\n1,0.1,2.5 # so\n",
        "step,lr,loss",
    ],
)
def test_columns_are_what_salvage_gives_sound_or_not(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    if text is not None:
        path.write_text(text)
    rows, left_out = history.salvage(path, StepRow)
    table, also_left_out = history.columns(path, StepRow)
    np.testing.assert_array_equal(table, np.array([astuple(row) for row in rows]).reshape(-1, 3))
    assert also_left_out == left_out
