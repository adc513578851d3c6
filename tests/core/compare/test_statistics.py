"""Intervals and tests against SciPy, and against figures worked out elsewhere."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from era_cli.core.compare.statistics import holm, mcnemar_p_value, newcombe_interval, welch

counts = st.integers(0, 400)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Both, only A, only B, neither; limits by another program from the formulas of the paper, for B - A.
        ((1, 1, 7, 12), 0.025559, 0.506920),  # airway hyper-responsiveness: Bentur et al. 2009
        ((14, 5, 0, 22), -0.226493, -0.011483),  # Altman et al. 2000, "Statistics with Confidence", table 6.2
        ((59, 6, 16, 80), 0.004625, 0.118621),
        ((43, 0, 1, 0), -0.059718, 0.118077),  # contact lenses: Tango 1998; no image that both get wrong
    ],
)
def test_newcombes_interval_of_published_tables(table: tuple[int, int, int, int], low: float, high: float) -> None:
    assert newcombe_interval(*table) == pytest.approx((low, high), abs=1e-6)


@given(counts, counts, counts, counts)
def test_the_interval_is_the_mirror_image_of_the_reverse_and_holds_the_difference(
    both: int, only_a: int, only_b: int, neither: int
) -> None:
    if not both + only_a + only_b + neither:
        return
    low, high = newcombe_interval(both, only_a, only_b, neither)
    assert newcombe_interval(both, only_b, only_a, neither) == pytest.approx((-high, -low), abs=1e-12)
    assert -1 <= low <= (only_b - only_a) / (both + only_a + only_b + neither) <= high <= 1


def test_without_flips_the_interval_still_has_a_width() -> None:
    low, high = newcombe_interval(9_300, 0, 0, 700)
    assert -0.001 < low < 0 < high < 0.001


@given(counts, counts)
def test_mcnemars_p_value_is_scipys_binomial_test(only_a: int, only_b: int) -> None:
    p_value = mcnemar_p_value(only_a, only_b)
    assert p_value == mcnemar_p_value(only_b, only_a)
    expected = stats.binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
    assert p_value == pytest.approx(expected, rel=1e-9)


# statsmodels 0.15.0: mcnemar([[both, only_a], [only_b, neither]], exact=True).pvalue
@pytest.mark.parametrize(
    ("only_a", "only_b", "p_value"),
    [
        (121, 59, 4.4344492637551645e-06),  # Agresti 1990, approval of the president
        (5, 0, 0.0625),
        (1, 7, 0.0703125),
        (6, 16, 0.052478790283203125),
        (180, 130, 0.005301755406832022),
        (0, 1, 1.0),
    ],
)
def test_mcnemars_p_value_is_that_of_statsmodels(only_a: int, only_b: int, p_value: float) -> None:
    assert mcnemar_p_value(only_a, only_b) == pytest.approx(p_value, rel=1e-12)


accuracies = st.lists(st.integers(0, 10_000), min_size=2, max_size=6)


@given(accuracies, accuracies)
def test_welchs_interval_and_p_value_are_scipys(one: list[int], other: list[int]) -> None:
    a, b = np.array(one) / 10_000, np.array(other) / 10_000
    interval, p_value = welch(a, b)
    if len(set(one)) == len(set(other)) == 1:
        assert (interval, p_value) == (None, None)
        return
    assert interval is not None
    with warnings.catch_warnings(category=RuntimeWarning, action="ignore"):  # one side has a variance of 0
        expected = stats.ttest_ind(b, a, equal_var=False)
    assert interval == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-9, abs=1e-12)
    assert p_value == pytest.approx(expected.pvalue, rel=1e-9)
    low, high = interval
    assert welch(b, a)[0] == pytest.approx((-high, -low))


def test_welchs_interval_by_hand() -> None:
    """Means 0.92 and 0.94, variances 1e-4 and 4e-4 of 3 each: standard error sqrt(5e-4 / 3), 2.941 degrees of freedom.

    The 97.5 % quantile of Student's t is 3.2188 there.
    """
    interval, p_value = welch(np.array([0.91, 0.92, 0.93]), np.array([0.92, 0.94, 0.96]))
    assert interval == pytest.approx((0.02 - 3.2188 * 0.0129099, 0.02 + 3.2188 * 0.0129099), abs=2e-5)
    assert p_value == pytest.approx(0.221, abs=0.001)


def test_holms_adjustment_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.9]) == [0.04, pytest.approx(0.09), pytest.approx(0.09), 0.9]
    assert holm([0.01, None, 0.04]) == [pytest.approx(0.03), None, pytest.approx(0.08)]  # of three tests
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
