"""Which learning rates a range test suggests. NumPy alone.

A range test raises the rate exponentially and watches the loss (Smith 2015, arXiv:1506.01186).
Slopes are taken against log10 of the rate, since that is what the sweep steps through evenly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from era_cli.results import STEEPEST, TENTH, VALLEY, LrSuggestion
from era_cli.text import plural

Floats = npt.NDArray[np.float64]

SMOOTHING = 0.15  # decades: standard deviation of the kernel that smooths a sweep
FEWEST_POINTS = 20  # before the loss diverges, for a slope to mean anything
RISE, LEARNT = 0.5, 0.1  # shares of the fall, and of the first loss: see _first_minimum
LEAST_FALL = 5.0  # of the smoothed loss, in standard deviations of its noise at the edge, where it is largest
LEAST_SHARE = 0.001  # and as a share of the first loss
# Bounds of divergence, times the untrained network's loss: of a sweep that has fallen by LEARNT of it, and of one
# that has not. A multiple of the lowest loss, as others take, is never reached behind batch-norm, and is reached by
# noise where the lowest is near 0.
DIVERGED_AGAIN, DIVERGED = 1.05, 1.25
_FIRST = 5  # steps that tell the untrained network's loss


def smooth(rates: Floats, losses: Floats) -> Floats:
    """Losses (S,) averaged with a Gaussian kernel over log10 of the rate.

    It looks both ways, so that a slope stays where it is; a running mean would move it to higher rates. What lies
    above the bound of divergence counts as that bound: it would smear into the minimum before it.
    """
    losses = np.minimum(losses, divergence(losses))
    decades = np.log10(rates)
    weights = np.exp(-0.5 * ((decades[:, None] - decades) / SMOOTHING) ** 2)
    return (weights @ losses) / weights.sum(axis=1)


def divergence(losses: Floats, lowest: float = np.inf) -> float:
    """The smoothed loss from which on a sweep has diverged, when the lowest one so far is `lowest`."""
    first = float(np.mean(losses[:_FIRST]))
    return first * (DIVERGED_AGAIN if lowest < (1 - LEARNT) * first else DIVERGED)


def suggest(rates: Floats, losses: Floats) -> tuple[dict[str, float], str]:
    """The rate of each rule for one sweep of S finite losses; or none of them, and why.

    `steepest`: where the smoothed loss falls fastest, before its minimum. `valley`: the middle, on the
    logarithmic axis, of the stretch over which it falls furthest. `minimum / 10`: a tenth of the rate at
    its minimum. The minimum is the first that the loss really rises from: what comes after a divergence
    says nothing of the rates before it.
    """
    if len(rates) < FEWEST_POINTS:
        few = f"{plural(len(rates), 'valid step')} {'is' if len(rates) == 1 else 'are'} too few"
        return {}, f"{few}, {FEWEST_POINTS} are needed: use more --steps"
    smoothed = smooth(rates, losses)
    lowest = _first_minimum(smoothed)
    if smoothed[0] - smoothed[lowest] < max(
        LEAST_FALL * _edge_noise(rates, losses[: lowest + 1]), LEAST_SHARE * abs(smoothed[0])
    ):
        return {}, (
            f"from {rates[0]:.3g} to {rates[-1]:.3g} the loss fell no further than its noise: use more --steps, more"
            " --seeds, a larger --batch-size, or sweep other rates"
        )
    slope = np.gradient(smoothed, np.log10(rates))
    start, end = _longest_fall(smoothed[: lowest + 1])
    picked = {
        STEEPEST: rates[slope[: lowest + 1].argmin()],
        VALLEY: np.sqrt(rates[start] * rates[end]),
        TENTH: rates[lowest] / 10,
    }
    # Rounded, so that the rate which a person reads is the rate.
    return {rule: float(f"{rate:.3g}") for rule, rate in picked.items()}, ""


def over_seeds(picked: dict[str, float], each: list[dict[str, float]]) -> tuple[LrSuggestion, ...]:
    """What was `picked` from the mean curve, with its spread over what the curve of each seed gives."""
    suggestions = []
    for rule, lr in picked.items():
        rates = [lr, *(own[rule] for own in each if own)]
        suggestions.append(LrSuggestion(rule=rule, lr=lr, spread=(min(rates), max(rates))))
    return tuple(suggestions)


def recommend(suggestions: tuple[LrSuggestion, ...]) -> tuple[LrSuggestion | None, str]:
    """The suggestion to take for the peak of a one-cycle, and why; None where there is none."""
    for suggestion in suggestions:
        if suggestion.rule == STEEPEST:
            return suggestion, "the loss falls fastest there, and the warm-up leads up to it"
    return None, ""


def _edge_noise(rates: Floats, losses: Floats) -> float:
    """Standard deviation of the first smoothed loss, from how much neighbours differ; a jump among them does not count.

    0.6745 is the median of a normal distribution's absolute value.
    """
    if len(losses) < 2:
        return 0.0
    noise = float(np.median(np.abs(np.diff(losses)))) / (0.6745 * np.sqrt(2))
    step = np.log10(rates[1] / rates[0])
    averaged = max(1.0, float(np.sqrt(np.pi) * SMOOTHING / step))  # points under the half kernel at the edge
    return noise / np.sqrt(averaged)


def _first_minimum(smoothed: Floats) -> int:
    """The place of the lowest value before the first rise by RISE of the fall, once it fell by LEARNT of its start."""
    low = np.minimum.accumulate(smoothed)
    fall = smoothed[0] - low
    rises = np.flatnonzero((smoothed - low > RISE * fall) & (fall > LEARNT * smoothed[0]))
    return int(smoothed[: rises[0] if len(rises) else len(smoothed)].argmin())


def _longest_fall(smoothed: Floats) -> tuple[int, int]:
    """First and last place of the stretch of falling values that falls furthest."""
    best, start = (0, 0), 0
    for place in range(1, len(smoothed)):
        if smoothed[place] >= smoothed[place - 1]:
            start = place
        if smoothed[start] - smoothed[place] > smoothed[best[0]] - smoothed[best[1]]:
            best = (start, place)
    return best
