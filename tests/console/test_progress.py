from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path

import pytest
from rich.progress import Progress

from era_cli.console.progress import Rate, WorkProgress, print_files
from era_cli.console.terminal import SteadyConsole
from tests.console.support import closed_pipe, read_until, terminal


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_work_continues_without_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_pipe() as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        progress = WorkProgress()
        progress.note("a note")
        with progress.work("decoding", 10) as advance:
            advance(10)


def test_a_closed_terminal_does_not_end_the_work() -> None:
    with terminal() as person:
        progress = WorkProgress()
        with progress.work("testing", 10) as advance:
            advance(5)
            os.close(person)
            advance(5)
        progress.note("still here")


def test_a_note_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    WorkProgress(quiet=True).note("1 image cannot be read: \x1b]0;title\x07\x1b[2J.png [bold]")
    out, err = capsys.readouterr()
    assert "\x1b" not in err
    assert "[bold]" in err
    assert err.startswith("Note: 1 image")
    assert out == ""


def test_a_long_note_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    WorkProgress().note("word " * 100)
    assert capsys.readouterr().err.count("\n") == 1


def test_off_a_terminal_work_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with WorkProgress().work("sweeping [bold]", 1_234, "steps") as advance:
        for _ in range(1_234):
            advance(1)
    assert capsys.readouterr() == ("", "sweeping [bold]: 1,234 steps\n")


def test_quiet_shows_only_notes(capsys: pytest.CaptureFixture[str]) -> None:
    progress = WorkProgress(quiet=True)
    with progress.work("decoding", 10) as advance:
        advance(10)
    progress.note("one thing")
    assert capsys.readouterr() == ("", "Note: one thing\n")


def test_a_bar_disappears_and_spares_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal() as person:
        progress = WorkProgress()
        with progress.work("[bold]decoding[/]", 2_000) as advance:
            advance(1_500)
            print("a result")
        progress.note("the end")
        seen = read_until(person, "the end")
    assert "[bold]decoding[/]" in seen
    assert "1,500/2,000" in seen
    assert re.search(r"\x1b\[2K(\x1b\[[?0-9;]*[a-z])*Note: the end$", seen)  # the bar's line is cleared
    assert "a result" not in seen
    assert capsys.readouterr().out == "a result\n"


@pytest.mark.parametrize(
    ("unit", "per_step", "expected"),
    [("images", 1, "2 images/s"), ("images", 1_024, "2,048 images/s"), ("bytes", 3_000_000, "6.0 MB/s")],
)
def test_the_rate_counts_units_per_step(unit: str, per_step: int, expected: str) -> None:
    clock = [0.0]
    progress = Progress(console=SteadyConsole(io.StringIO()), get_time=lambda: clock[0])
    task = progress.add_task("work", total=100)
    assert Rate(unit, per_step).render(progress.tasks[0]).plain == ""
    for _ in range(5):
        clock[0] += 0.5  # a step each half second
        progress.update(task, advance=1)
    assert Rate(unit, per_step).render(progress.tasks[0]).plain == expected


def test_each_file_is_one_unbroken_line() -> None:
    files = [Path("runs") / ("a b" * 60) / "run.json", Path("[bold]") / "猫.png"]
    stream = io.StringIO()
    print_files(SteadyConsole(stream, width=20), files)
    assert stream.getvalue().splitlines() == [str(file) for file in files]
