from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest
from rich.text import Text

from era_cli.console.terminal import SteadyConsole, duration, print_json, printable
from tests.console.support import closed_pipe


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (3.4, "0:03"),
        (59.6, "1:00"),
        (123, "2:03"),
        (3_599.4, "59:59"),
        (3_599.7, "1:00:00"),
        (3_723, "1:02:03"),
        (360_000, "100:00:00"),
    ],
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("length", [1, 100_000])
def test_a_console_without_a_reader_goes_silent(length: int) -> None:
    with closed_pipe() as stream:
        steady = SteadyConsole(stream)
        for _ in range(3):
            steady.print("x" * length)
        stream.write("past the console")  # nor may the interpreter's own flush at exit fail
        stream.flush()


def test_a_full_disk_does_not_stop_the_work() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    stream = full.open("w", encoding="utf-8")
    SteadyConsole(stream).print("x" * 100_000)
    with contextlib.suppress(OSError):
        stream.close()


def test_off_a_terminal_no_line_ends_in_spaces() -> None:
    stream = io.StringIO()
    SteadyConsole(stream, width=40).print("a line   \n  another  ", justify="left")
    assert stream.getvalue() == "a line\n  another\n"


def test_off_a_terminal_no_line_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def lines(**options: int) -> int:
        stream = io.StringIO()
        SteadyConsole(stream, **options).print("word " * 100)
        return len(stream.getvalue().splitlines())

    monkeypatch.delenv("COLUMNS", raising=False)
    assert lines() == 1
    assert lines(width=60) > 5
    monkeypatch.setenv("COLUMNS", "60")
    assert lines() > 5


def test_names_are_text_without_controls() -> None:
    assert printable("[bold]\x1b[2Jdog[/]") == Text("[bold]\ufffd[2Jdog[/]")


def test_json_is_ascii_and_survives_a_closed_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    print_json({"name": "собака"})
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert json.loads(shown) == {"name": "собака"}
    with closed_pipe() as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        print_json({"many": list(range(100_000))})
