from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from era_cli.results import EpochRow
from era_cli.runs.best_epoch import best
from tests.support import epoch_row as row


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([row(1, 0.5), row(2, 0.7), row(3, 0.6)], 2, id="highest-accuracy"),
        pytest.param([row(1, 0.5, 0.1), row(2, 0.7, 9.0)], 2, id="accuracy-not-loss"),
        pytest.param([row(1, 0.4483), row(2, 0.4483), row(3, 0.4138)], 2, id="the-later-of-equals"),
        pytest.param([row(1, 0.5002), row(2, 0.5)], 1, id="by-the-smallest-lead"),
        pytest.param([row(1, 0.0), row(2, 0.0)], 2, id="zeros-are-numbers"),
        pytest.param([row(1, None, None), row(2, None, None)], 2, id="without-validation-the-last"),
        pytest.param([row(1, None, None), row(2, 0.1), row(3, None, None)], 2, id="validated-before-not"),
        pytest.param(
            [row(1, 0.5), row(2, 0.6), row(3, 2.0), row(4, math.nan)],
            2,
            id="what-is-not-a-fraction-is-left-out",
        ),
    ],
)
def test_the_best_epoch(rows: list[EpochRow], expected: int) -> None:
    assert best(rows).epoch == expected
    assert best(iter(rows)).epoch == expected


@given(correct=st.lists(st.integers(0, 40), min_size=1, max_size=12))
def test_the_best_epoch_led_when_it_came(correct: list[int]) -> None:
    """Its checkpoint can be kept only then, and must be the newest that was kept."""
    rows = [row(epoch, right / 40) for epoch, right in enumerate(correct, 1)]
    kept = rows[0]
    for each in rows[1:]:
        kept = best([kept, each])
    assert best(rows) == kept


def test_no_rows_have_no_best() -> None:
    with pytest.raises(ValueError, match="no epoch"):
        best([])
