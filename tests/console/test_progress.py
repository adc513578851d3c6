from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path

import pytest
from rich.progress import Progress

from era_cli.console.progress import WorkLine, WorkProgress, print_files, print_next, rate
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
    WorkProgress().note("1 image cannot be read: \x1b]0;title\x07\x1b[2J.png [bold]")
    out, err = capsys.readouterr()
    assert "\x1b" not in err
    assert "[bold]" in err
    assert err.startswith("Note: 1 image")
    assert out == ""


def test_the_paths_of_files_have_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    console = SteadyConsole(sys.stdout)
    print_files(console, [Path("\x1b[2J.png")], [Path("\x1b[2J.json")])
    print_next(console, "era eval --run '\x1b[2J'")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.count("[2J") == 3


def test_a_long_note_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    WorkProgress().note("word " * 100)
    assert capsys.readouterr().err.count("\n") == 1


def test_off_a_terminal_work_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with WorkProgress().work("sweeping [bold]", 1_234, "steps") as advance:
        for _ in range(1_234):
            advance(1)
    assert capsys.readouterr() == ("", "sweeping [bold]: 1,234 steps\n")


def test_quiet_shows_only_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    progress = WorkProgress(quiet=True)
    with progress.work("decoding", 10) as advance:
        advance(10)
    progress.note("one thing")
    progress.warn("another")
    assert capsys.readouterr() == ("", "Warning: another\n")


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
    ("per_second", "unit", "expected"),
    [
        (2_048, "images", "2,048 images/s"),
        (9.96, "images", "10 images/s"),
        (4.24, "steps", "4.2 steps/s"),
        (0.133, "steps", "7.5 s/step"),
        (0.004, "images", "250 s/image"),
        (6e6, "bytes", "6.0 MB/s"),
    ],
)
def test_slow_rates_have_a_decimal(per_second: float, unit: str, expected: str) -> None:
    assert rate(per_second, unit) == expected


def line_after(steps: int, seconds_each: float, *, width: int, unit: str = "steps", total: int = 80) -> str:
    """The bar of a sweep of which `steps` are done."""
    clock = [0.0]
    stream = io.StringIO()
    console = SteadyConsole(stream, width=width, force_terminal=True, color_system=None)
    line = WorkLine(console, unit)
    progress = Progress(line, console=console, get_time=lambda: clock[0])
    task = progress.add_task("sweeping the learning rate", total=total)
    for _ in range(steps):
        clock[0] += seconds_each
        progress.update(task, advance=1)
    console.print(line.render(progress.tasks[0]))
    return stream.getvalue().rstrip()


def test_rate_and_time_left_are_shown_on_narrow_terminals() -> None:
    assert line_after(4, 7.5, width=60) == "sweeping the learning rate 4/80 7.5 s/step 9:30 left"
    assert re.fullmatch(r"sweeping the learning rate ━ {20,}4/80 7\.5 s/step 9:30 left", line_after(4, 7.5, width=80))
    assert line_after(4, 7.5, width=50) == "sweeping the learning rate 7.5 s/step 9:30 left"
    assert line_after(4, 7.5, width=40) == "sweeping the learning rate 9:30 left"
    assert line_after(4, 7.5, width=20) == "sweeping … 9:30 left"


def test_steps_longer_than_the_window_have_a_rate() -> None:
    assert line_after(2, 100, width=60).endswith("2/80 100 s/step 2:10:00 left")
    assert line_after(0, 100, width=60).split() == ["sweeping", "the", "learning", "rate", "0/80"]


def test_a_download_counts_in_megabytes() -> None:
    assert line_after(2, 1, width=60, unit="bytes", total=170_000_000).split()[4] == "0/170"


def print_paths(opened: list[Path], others: list[Path], width: int) -> list[str]:
    stream = io.StringIO()
    print_files(SteadyConsole(stream, width=width), opened, others)
    return stream.getvalue().splitlines()


def test_a_file_to_open_is_one_unbroken_line() -> None:
    files = [Path("runs") / ("a b" * 60) / "curves.png", Path("[bold]") / "猫.png"]
    assert print_paths(files, [], 20) == [str(file) for file in files]


def test_the_other_files_are_listed_briefly() -> None:
    run = Path("runs/mine")
    others = [run / name for name in ("run.json", "steps.csv", "checkpoints/best.ckpt")]
    assert print_paths([], others, 80) == ["also in runs/mine: run.json, steps.csv, checkpoints/best.ckpt"]
    assert print_paths([], others, 40) == ["also in runs/mine: run.json, steps.csv,", "checkpoints/best.ckpt"]
    apart = [Path("/elsewhere/x-maps.npz"), run / "run.json"]
    assert print_paths([], apart, 80) == ["also: /elsewhere/x-maps.npz, runs/mine/run.json"]
