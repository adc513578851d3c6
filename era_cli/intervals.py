"""Confidence intervals of proportions. Loads nothing."""

from __future__ import annotations

import math

_Z_95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927, JASA 22:209), which stays within 0..1."""
    z = _Z_95
    proportion = correct / count
    middle = proportion + z**2 / (2 * count)
    half = z * math.sqrt(proportion * (1 - proportion) / count + z**2 / (4 * count**2))
    low, high = ((middle + side * half) / (1 + z**2 / count) for side in (-1, 1))
    return max(0.0, low), min(1.0, high)
