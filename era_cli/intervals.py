"""How sure a share of counted things is. Loads nothing."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054  # 97.5 % of a normal distribution lie below


def wilson_interval(correct: int, count: int, z: float = Z_95) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927, JASA 22:209), which stays within 0..1 even at its ends.

    `z` is its reach to each side in standard errors.
    """
    share = correct / count
    middle = share + z**2 / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    low, high = ((middle + side * half) / (1 + z**2 / count) for side in (-1, 1))
    return max(0.0, low), min(1.0, high)
