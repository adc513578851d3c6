"""The table of runs at every width."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from era_cli.console.runs import headline, print_runs
from era_cli.console.terminal import SteadyConsole
from era_cli.results import RunSummary
from tests.console.support import HOSTILE


def run(name: str = "digits-1", **changes: Any) -> RunSummary:
    given: dict[str, Any] = {
        "status": "interrupted",
        "started": "2026-01-01T00:00:00+00:00",
        "size": 158_000_000,
        "source": "/data/photos of cats",
        "recipe": "default",
        "changes": {"crop_padding": 10, "label_smoothing": 0.05, "nesterov": False},
        "epochs": 7,
        "planned_epochs": 10,
        "val_acc": 0.9436,
        "test_acc": 0.9305,
        "seconds": 3723.4,
    }
    return RunSummary(path=Path("runs", name), **{**given, **changes})


BAD = RunSummary(path=Path("runs/bad"), status="unreadable", started="", size=1, problem="bad/run.json is damaged")


def shown(*runs: RunSummary, width: int = 200, terminal: bool = False) -> str:
    stream = io.StringIO()
    print_runs(SteadyConsole(stream, width=width, force_terminal=terminal), runs)
    return stream.getvalue()


def test_every_column_is_there_where_it_fits() -> None:
    row, bad, _, total, reason = shown(run(), BAD).splitlines()[4:]
    recipe = "default, crop_padding 10, label_smoothing 0.05, nesterov no"
    cells = ["digits-1", "photos of cats", recipe, "7/10", "interrupted", "94.36%", "93.05%", "1:02:03", "158 MB"]
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == cells
    assert bad.split() == ["bad", "-", "-", "-", "unreadable", "-", "-", "-", "1", "kB"]
    assert total == "2 runs, 158 MB"
    assert reason == "bad/run.json is damaged"


@pytest.mark.parametrize(
    ("width", "header"),
    [
        (120, "run data recipe epochs status val test time size"),
        (80, "run recipe epochs status val test"),
        (60, "run epochs status val test"),
        (40, "run status test"),
    ],
)
@pytest.mark.parametrize("name", ["digits-1", *HOSTILE])
def test_a_narrow_terminal_loses_columns_not_names(width: int, header: str, name: str) -> None:
    lines = shown(run(name), width=width).splitlines()
    assert name != "digits-1" or lines[2].split() == header.split()
    assert [line for line in lines if cell_len(line) > width] == []
    assert "93.05%" in lines[4]
    assert sum(line.count("x") for line in lines) == name.count("x")  # a long one is folded
    if width == 80:
        assert any(" crop_padding 10," in line for line in lines)  # not torn apart


def test_the_status_is_colored_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[33minterrupted" in shown(run(), terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[33m" not in shown(run(), terminal=True)
    assert "\x1b" not in shown(run())


def test_a_thousand_runs_take_no_time() -> None:
    runs = [run(f"run-{number}") for number in range(1_000)]
    started = time.process_time()
    assert len(shown(*runs, width=80).splitlines()) > 1_000
    assert time.process_time() - started < 1.5  # Rich's own table takes ten times as long


def test_a_run_in_one_line() -> None:
    assert headline(run("a")) == "a: interrupted, 7/10 epochs, validation 94.36%, test 93.05%"
