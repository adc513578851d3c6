"""A learning-rate range test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from era_cli.results.units import Count, LearningRate, Positive

STEEPEST, VALLEY, TENTH = "steepest", "valley", "minimum / 10"  # the rules that suggest a learning rate


@dataclass(frozen=True, kw_only=True)
class LrSuggestion:
    """A learning rate that a rule picks from a sweep; `spread` is its range over the seeds."""

    rule: str
    lr: LearningRate
    spread: tuple[LearningRate, LearningRate]


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The learning rate to take, and the rule that picked it."""

    rule: str
    lr: LearningRate


@dataclass(frozen=True, kw_only=True)
class SweepSummary:
    """What a sweep suggests, over which rates it went, and the `reason` for its recommendation or for having none."""

    recommended: Recommendation | None
    suggestions: tuple[LrSuggestion, ...]
    reason: str
    min_lr: LearningRate
    max_lr: LearningRate
    steps: Positive
    seeds: tuple[Count, ...]
    stops: tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True)
class LrSweep:
    """A learning-rate range test over S rates and K seeds.

    `rates` (S,), `losses` (K, S) float64 in nats, NaN after a seed's sweep stopped, `smoothed` (S,) the mean over
    seeds, smoothed, NaN past the first stop; `stops` says for each seed why and at which rate it stopped, or None.
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

    @property
    def summary(self) -> SweepSummary:
        """The sweep without its curves."""
        best = self.recommended
        return SweepSummary(
            recommended=None if best is None else Recommendation(rule=best.rule, lr=best.lr),
            suggestions=self.suggestions,
            reason=self.verdict if best is None else self.reason,
            min_lr=float(self.rates[0]),
            max_lr=float(self.rates[-1]),
            steps=len(self.rates),
            seeds=self.seeds,
            stops=self.stops,
        )
