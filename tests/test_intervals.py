from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from era_cli.intervals import wilson_interval


@settings(max_examples=50)
@given(count=st.integers(1, 20_000), share=st.floats(0, 1))
def test_the_interval_is_scipys_wilson_interval(count: int, share: float) -> None:
    correct = round(count * share)
    wanted = binomtest(correct, count).proportion_ci(confidence_level=0.95, method="wilson")
    low, high = wilson_interval(correct, count)
    assert (low, high) == pytest.approx((wanted.low, wanted.high), rel=1e-9, abs=1e-12)
    assert 0 <= low < high <= 1
    assert low - 1e-12 <= correct / count <= high + 1e-12
