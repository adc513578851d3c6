"""Intervals and tests of differences between accuracies. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special  # scipy.stats takes twice as long to load

from era_cli.intervals import wilson_interval

LEVEL = 0.95


def newcombe_interval(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    """The 95 % interval of the accuracy of B less that of A on the same images, counted by who is right.

    Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on paired
    data", Statistics in Medicine 17:2635, method 10: Wilson's intervals of both, combined by way of their correlation.
    Where few images differ it is too wide rather than too narrow.
    """
    count = both + only_a + only_b + neither
    right_a, right_b = both + only_a, both + only_b
    a, b = right_a / count, right_b / count
    (low_a, high_a), (low_b, high_b) = wilson_interval(right_a, count), wilson_interval(right_b, count)
    correlation = _corrected_correlation(both, only_a, only_b, neither)

    def distance(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))

    difference = (only_b - only_a) / count
    low = difference - distance(b - low_b, high_a - a)
    high = difference + distance(high_b - b, a - low_a)
    return max(-1.0, low), min(1.0, high)


def _corrected_correlation(both: int, only_a: int, only_b: int, neither: int) -> float:
    """The correlation phi, drawn towards 0 by a continuity correction where it is positive; 0 where undefined."""
    margins = (both + only_a, only_b + neither, both + only_b, only_a + neither)
    if not all(margins):
        return 0.0
    covariance: float = both * neither - only_a * only_b
    if covariance > 0:
        covariance = max(covariance - sum((both, only_a, only_b, neither)) / 2, 0)
    return covariance / math.sqrt(math.prod(margins))


def mcnemar_p_value(only_a: int, only_b: int) -> float:
    """The two-sided p-value of McNemar's exact test: a binomial test of the images that one side alone gets right.

    McNemar 1947, Psychometrika 12:153. 1 where there are none.
    """
    discordant = only_a + only_b
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), discordant, 0.5))) if discordant else 1.0


def welch(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> tuple[tuple[float, float] | None, float | None]:
    """The 95 % interval of the mean of `b` less that of `a`, two values each or more, and its two-sided p-value.

    Welch 1947, "The generalization of 'Student's' problem when several different population variances are involved",
    Biometrika 34:28, with Satterthwaite's degrees of freedom. None for both where neither side varies.
    """
    shares = [values.var(ddof=1) / len(values) for values in (a, b)]
    error = math.sqrt(sum(shares))
    difference = float(b.mean() - a.mean())
    if error <= np.finfo(np.float64).eps * max(1.0, abs(difference)):
        return None, None
    parts = [(share / error**2) ** 2 / (len(values) - 1) for share, values in zip(shares, (a, b), strict=True)]
    freedom = 1 / sum(parts)
    half = float(special.stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return (difference - half, difference + half), float(2 * special.stdtr(freedom, -abs(difference) / error))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values adjusted for how many they are (Holm 1979, Scandinavian Journal of Statistics 6:65).

    One that is undefined counts as a test, too: which are undefined depends on the data.
    """
    known = sorted((value, place) for place, value in enumerate(p_values) if value is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (value, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(p_values) - rank) * value))
        adjusted[place] = largest
    return adjusted
