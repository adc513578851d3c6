"""A comparison on a terminal."""

from __future__ import annotations

import dataclasses
import io

import pytest

from era_cli.console.compare import headline, print_comparison
from era_cli.console.terminal import SteadyConsole
from era_cli.core.compare.compare import compare
from era_cli.results import ClassComparison, Comparison, SettingChange
from tests.console.support import HOSTILE, rows
from tests.core.compare.support import evaluated

LABELS = [0] * 10 + [1] * 10


def comparison() -> Comparison:
    a, b = [2, *LABELS[1:]], [0] * 4 + [2] * 6 + LABELS[10:]
    return compare([evaluated("base", LABELS, a)], [evaluated("new", LABELS, b)])


def shown(found: Comparison, width: int = 100) -> str:
    stream = io.StringIO()
    print_comparison(SteadyConsole(stream, width=width), [("A", "runs/base")], found)
    return stream.getvalue()


def test_everything_is_shown_and_the_claim_comes_last() -> None:
    text = shown(comparison())
    assert "95.00% (19 correct), 95% interval 76.39% to 99.11%" in text
    assert "13 in both, 6 in A alone, 1 in B alone, 0 in neither" in text
    assert "0.12 (McNemar's exact test)" in text
    assert rows(text, "Classes, largest difference first") == [
        ["cat", "10", "90.00%", "40.00%", "-50.00", "6", "1", "0.25"],
        ["dog", "10", "100.00%", "100.00%", "+0.00", "0", "0", "1"],
    ]
    assert rows(text, "Right in A, wrong in B: 5 of 6")[0] == ["4", "cat", "emu", "96.5%", "1.8%"]
    assert rows(text, "Wrong in A, right in B") == [["0", "cat", "emu", "1.8%", "96.5%"]]
    claim = headline(comparison())
    assert claim.startswith("no difference can be claimed: A (base) is 25.00 points ahead of B (new) on 20 images, but")
    assert text.rstrip().endswith(f"N{claim[1:]}.")


def test_settings_are_shown_as_they_are_written_and_hashes_shortened() -> None:
    settings = (
        SettingChange(name="recipe.nesterov", a=(True,), b=(False,)),
        SettingChange(name="device.precision", a=("bf16",), b=("fp32", "bf16")),
        SettingChange(name="git_commit", a=("0123456789" * 4,), b=(None,)),
    )
    found = rows(shown(dataclasses.replace(comparison(), settings=settings)), "Settings that differ")
    assert found == [
        ["nesterov", "yes", "no"],
        ["device.precision", "bf16", "fp32, bf16"],
        ["git_commit", "012345678901", "-"],
    ]
    assert "only seeds may differ" in shown(dataclasses.replace(comparison(), settings=()))


@pytest.mark.parametrize("name", HOSTILE)
def test_numbers_stay_whole_on_a_narrow_terminal_whatever_the_classes_are_called(name: str) -> None:
    text = shown(dataclasses.replace(comparison(), classes=(name, "dog", "emu"), per_class=(_row(name, -0.5),)), 60)
    assert "-50.00" in text
    assert "…" not in text
    assert "\x1b" not in text


def test_names_and_differences_are_left_on_a_very_narrow_terminal() -> None:
    settings = (SettingChange(name="recipe.epochs", a=(1,), b=(2,)),)
    text = shown(dataclasses.replace(comparison(), settings=settings), 40)
    assert rows(text, "Classes, largest difference first")[0] == ["cat", "-50.00", "0.25"]
    assert rows(text, "Right in A, wrong in B: 5 of 6")[0] == ["4", "cat", "emu"]
    assert rows(text, "Settings that differ") == [["epochs", "1", "2"]]
    assert "…" not in text


def test_of_three_hundred_classes_those_are_shown_that_differ_most() -> None:
    many = tuple(_row(f"class {place}", place / 1000) for place in range(300))
    text = shown(dataclasses.replace(comparison(), per_class=many))
    found = rows(text, "The 20 of 300 classes that differ most (--json has all)")
    assert [row[0] for row in found] == [f"class {place}" for place in range(299, 279, -1)]


def _row(name: str, difference: float) -> ClassComparison:
    return ClassComparison(
        name=name, support=10, a=0.5, b=0.5 + difference, lost=6, gained=1, p_value=0.125, p_value_holm=0.25
    )
