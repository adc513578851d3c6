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
        pytest.param([row(1, 0.5), row(2, 0.5), row(3, 0.2)], 2, id="the-later-of-equals"),
        pytest.param([row(1, 0.9), row(2, 0.88), row(3, 0.86)], 2, id="the-later-within-a-standard-error"),  # 0.03
        pytest.param([row(1, 0.9), row(2, 0.871), row(3, 0.842)], 2, id="within-it-of-the-highest"),
        pytest.param([row(1, 1.0), row(2, 0.99)], 1, id="one-more-mistake-in-100"),
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
    assert best(rows, 100).epoch == expected
    assert best(iter(rows), 100).epoch == expected


def test_a_lead_counts_for_more_among_more_images() -> None:
    rows = [
        row(1, 0.9488),
        row(2, 0.946),
        row(3, 0.94),
    ]  # a standard error is 0.0032 of 5,000, 0.0010 of 50,000
    assert [best(rows, count).epoch for count in (500, 5_000, 50_000)] == [3, 2, 1]


@given(
    correct=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    val_count=st.integers(40, 60),
)
def test_the_best_epoch_led_when_it_came(correct: list[int], val_count: int) -> None:
    """Its checkpoint can be kept only then, and must be the newest that was kept."""
    rows = [row(epoch, right / val_count) for epoch, right in enumerate(correct, 1)]
    led = [each for number, each in enumerate(rows, 1) if best(rows[:number], val_count) == each]
    assert best(rows, val_count) == led[-1]


def test_no_rows_have_no_best() -> None:
    with pytest.raises(ValueError, match="no epoch"):
        best([], 0)
