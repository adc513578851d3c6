from __future__ import annotations

import dataclasses
import io
import re
import unicodedata
from collections.abc import Sequence

import pytest
from rich.cells import cell_len

from era_cli.console.curves import print_curves
from era_cli.console.terminal import SteadyConsole
from era_cli.results import Curves
from tests.console.support import HOSTILE
from tests.reports.support import run, stopped, unvalidated


def shown(runs: Sequence[Curves], width: int = 100) -> str:
    stream = io.StringIO()
    print_curves(SteadyConsole(stream, width=width, force_terminal=False), runs)
    return stream.getvalue()


def cells(text: str) -> list[list[str]]:
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines.pop(0) == ["Runs"]
    assert lines[0] == ["run", "status", "epochs", "best", "val", "test"]
    return lines[2:]


def test_each_run_has_a_row_with_its_best_epoch() -> None:
    runs = [
        run(10, name="a", ringed=7, test_acc=0.98765),
        stopped(3, 24, name="b"),
        unvalidated(4, name="c", test_acc=0.5),
        stopped(0, 24, name="d", status="running"),
    ]
    assert cells(shown(runs)) == [
        ["a", "finished", "10/10", "7", "90.00%", "98.77%"],
        ["b", "interrupted", "3/24", "3", "76.67%", "-"],
        ["c", "finished", "4/4", "-", "-", "50.00%"],
        ["d", "running", "0/24", "-", "-", "-"],
    ]


@pytest.mark.parametrize("name", [*HOSTILE, "x" * 100, "猫 " * 50])
def test_no_run_name_breaks_60_columns(name: str) -> None:
    longest = dataclasses.replace(stopped(3, 9_999, name=name, test_acc=1.0))
    text = shown([longest], width=60)
    for line in text.splitlines():
        assert cell_len(line) <= 60, line
    assert {char for char in text if unicodedata.category(char) in ("Cc", "Cs", "Cf")} <= {"\n"}
    assert re.search(r"interrupted +3/9999 +3 +76\.67% +100\.00%$", text, re.MULTILINE)


def test_a_long_name_is_folded_not_cut() -> None:
    name = "a-very-long-name-" * 6
    folded = "".join(
        line[:20].split()[0] for line in shown([run(2, name=name)], width=60).splitlines()[4:] if line.strip()
    )
    assert folded == name
