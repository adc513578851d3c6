"""A learning-rate range test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STEEPEST, VALLEY, TENTH = "steepest", "valley", "minimum / 10"  # the rules that suggest a learning rate


@dataclass(frozen=True, kw_only=True)
class LrSuggestion:
    """A learning rate that a rule picks from a sweep; `spread` is the least and the most over the seeds."""

    rule: str
    lr: float
    spread: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class LrSweep:
    """A learning-rate range test over S rates and K seeds.

    `rates` (S,), `losses` (K, S) float64 in nats, NaN after a seed's sweep stopped, `smoothed` (S,) the mean over
    seeds, smoothed, NaN past the first stop; `stops` says of each seed why and at which rate it stopped, or None.
    `recommended` is one of the suggestions, for `reason`; without one `verdict` says why there is none.
    """

    rates: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    smoothed: npt.NDArray[np.float64]
    seeds: tuple[int, ...]
    stops: tuple[str | None, ...]
    suggestions: tuple[LrSuggestion, ...]
    recommended: LrSuggestion | None
    reason: str
    verdict: str
