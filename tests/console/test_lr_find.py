from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest

from era_cli.console.lr_find import print_sweep
from era_cli.console.terminal import SteadyConsole
from era_cli.results import LrSuggestion, LrSweep

STEEPEST = LrSuggestion(rule="steepest", lr=0.123456, spread=(0.1, 0.15))
TENTH = LrSuggestion(rule="minimum / 10", lr=0.0456789, spread=(0.0123456, 0.0567891))
ONE = LrSweep(
    rates=np.geomspace(1e-5, 10, 4),
    losses=np.array([[2.3, 2.2, 1.5, 1.9]]),
    smoothed=np.array([2.3, 2.2, 1.5, 1.9]),
    seeds=(7,),
    stops=(None,),
    suggestions=(STEEPEST, TENTH),
    recommended=TENTH,
    reason="it is sure",
    verdict="",
)
TWO = replace(ONE, seeds=(7, 8), stops=(None, "the loss diverged at a rate of 0.5"), losses=np.ones((2, 4)))
HEADER = [("data", "digits: 1,294 training images"), ("device", "a processor, fp32")]


def shown(sweep: LrSweep, header: list[tuple[str, str]] = HEADER, width: int = 100) -> str:
    stream = io.StringIO()
    print_sweep(SteadyConsole(stream, width=width), header, sweep)
    return stream.getvalue()


def test_the_facts_end_with_how_it_ended() -> None:
    lines = shown(ONE).splitlines()
    assert re.fullmatch(r"data +digits: 1,294 training images", lines[0])
    assert re.fullmatch(r"device +a processor, fp32", lines[1])
    assert re.fullmatch(r"ended +reached 10 without diverging", lines[2])
    stopped = shown(replace(ONE, stops=("the loss diverged at a rate of 0.5",)))
    assert re.search(r"^ended +the loss diverged at a rate of 0\.5$", stopped, re.MULTILINE)


def test_each_seed_says_how_it_ended() -> None:
    text = shown(TWO)
    assert re.search(r"^seed 7 +reached 10 without diverging$", text, re.MULTILINE)
    assert re.search(r"^seed 8 +the loss diverged at a rate of 0\.5$", text, re.MULTILINE)


def test_every_suggestion_has_a_row() -> None:
    text = shown(ONE)
    assert re.search(r"^ *steepest +0\.123$", text, re.MULTILINE)
    assert re.search(r"^ *minimum / 10 +0\.0457 +recommended$", text, re.MULTILINE)
    assert "over seeds" not in text
    assert text.rstrip().endswith("Recommended one-cycle peak: --max-lr 0.0457 (it is sure).")


def test_several_seeds_show_their_spread() -> None:
    text = shown(TWO)
    assert re.search(r"^ *rule +lr +over seeds$", text, re.MULTILINE)
    assert re.search(r"^ *steepest +0\.123 +0\.1 to 0\.15$", text, re.MULTILINE)
    assert re.search(r"^ *minimum / 10 +0\.0457 +0\.0123 to 0\.0568 +recommended$", text, re.MULTILINE)


def test_without_a_suggestion_there_is_no_table() -> None:
    nothing = replace(ONE, suggestions=(), recommended=None, reason="", verdict="the loss never fell")
    text = shown(nothing)
    assert "reached 10" in text
    assert "Suggested" not in text
    assert "Recommended" not in text


@pytest.mark.parametrize("sweep", [ONE, TWO])
def test_every_line_fits_in_60_columns(sweep: LrSweep) -> None:
    name = "a-folder-with-a-long-name/" * 4
    text = shown(sweep, [("data", name)], width=60)
    for line in text.splitlines():
        assert len(line) <= 60, line
    assert name in re.sub(r"\s+", "", text)  # folded, not cut
