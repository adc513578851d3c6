from __future__ import annotations

import io
from pathlib import Path

import pytest

from era_cli.console.fit import print_seeds
from era_cli.console.terminal import SteadyConsole
from era_cli.results import FitResult, SeedResults


def result(test_acc: float, val_acc: float | None = 0.9) -> FitResult:
    return FitResult(
        best_epoch=2,
        best_val_acc=val_acc,
        best_val_loss=None if val_acc is None else 0.3,
        test_acc=test_acc,
        test_loss=0.5,
        test_correct=round(100 * test_acc),
        test_count=100,
        seconds=61,
    )


def seeds(*accuracies: float, val_acc: float | None = 0.9) -> SeedResults:
    return SeedResults(
        runs=tuple(Path(f"runs/digits-{place}") for place in range(len(accuracies))),
        seeds=tuple(range(7, 7 + len(accuracies))),
        results=tuple(result(accuracy, val_acc) for accuracy in accuracies),
    )


def shown(found: SeedResults, width: int = 80) -> str:
    stream = io.StringIO()
    print_seeds(SteadyConsole(stream, width=width, force_terminal=False), found)
    return stream.getvalue()


def test_each_run_has_a_row_and_mean_and_deviation_come_last() -> None:
    lines = [line.split() for line in shown(seeds(0.80, 0.90, 0.94)).splitlines() if line.split()]
    assert lines[0] == ["3", "seeds"]
    assert lines[3:6] == [
        ["runs/digits-0", "7", "90.00%", "80.00%", "1:01"],
        ["runs/digits-1", "8", "90.00%", "90.00%", "1:01"],
        ["runs/digits-2", "9", "90.00%", "94.00%", "1:01"],
    ]
    assert lines[6:] == [["mean", "88.00%"], ["standard", "deviation", "7.21", "points"]]


def test_without_validation_its_cells_are_dashes() -> None:
    assert "runs/digits-0 7 - 80.00% 1:01" in " ".join(shown(seeds(0.8, 0.9, val_acc=None)).split())


@pytest.mark.parametrize("width", [50, 60])
def test_a_narrow_terminal_cuts_no_figure(width: int) -> None:
    text = shown(seeds(0.8, 0.9), width)
    assert {"80.00%", "90.00%", "85.00%", "7.07 points"} <= {
        word for line in text.splitlines() for word in (line.split("  ") + line.split()) for word in [word.strip()]
    }
    assert max(map(len, text.splitlines())) <= width
