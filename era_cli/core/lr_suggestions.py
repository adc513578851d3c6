"""Which learning rates a range test suggests. NumPy alone.

A range test raises the rate exponentially and watches the loss (Smith 2015, arXiv:1506.01186).
Slopes are taken against log10 of the rate, since that is what the sweep steps through evenly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from era_cli.results import LrSuggestion

Floats = npt.NDArray[np.float64]

STEEPEST = "steepest"
VALLEY = "valley"
TENTH = "minimum / 10"

SMOOTHING = 0.15  # decades: standard deviation of the kernel that smooths a sweep
FEWEST_POINTS = 20  # before the loss diverges, for a slope to mean anything
RISE, LEARNT = 0.1, 0.1  # shares of the fall, and of the first loss: see _first_minimum
LEAST_FALL = 3.0  # of the smoothed loss, in standard deviations of its noise


def smooth(rates: Floats, losses: Floats) -> Floats:
    """Losses (S,) averaged with a Gaussian kernel over log10 of the rate.

    It looks both ways, so that a slope stays where it is; a running mean would move it to higher rates.
    """
    decades = np.log10(rates)
    weights = np.exp(-0.5 * ((decades[:, None] - decades) / SMOOTHING) ** 2)
    return (weights @ losses) / weights.sum(axis=1)


def suggest(rates: Floats, losses: Floats) -> tuple[dict[str, float], str]:
    """The rate of each rule for one sweep of S finite losses; or none of them, and why.

    `steepest`: where the smoothed loss falls fastest, before its minimum. `valley`: the middle, on the
    logarithmic axis, of the longest stretch over which it falls. `minimum / 10`: a tenth of the rate at
    its minimum. The minimum is the first that the loss really rises from: what comes after a divergence
    says nothing of the rates before it.
    """
    if len(rates) < FEWEST_POINTS:
        return {}, f"{len(rates)} sound steps are too few to suggest a rate, {FEWEST_POINTS} are needed"
    smoothed = smooth(rates, losses)
    lowest = _first_minimum(smoothed)
    noise = float(np.std(np.diff(losses[: lowest + 2]))) / np.sqrt(2)
    if lowest < 2 or smoothed[0] - smoothed[lowest] < LEAST_FALL * noise / np.sqrt(_kernel_points(rates)):
        return {}, f"the loss never fell between {rates[0]:.3g} and {rates[-1]:.3g}"
    slope = np.gradient(smoothed, np.log10(rates))
    start, end = _longest_fall(smoothed[: lowest + 1])
    return {
        STEEPEST: float(rates[slope[: lowest + 1].argmin()]),
        VALLEY: float(np.sqrt(rates[start] * rates[end])),
        TENTH: float(rates[lowest] / 10),
    }, ""


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


def _kernel_points(rates: Floats) -> float:
    """How many points the kernel averages over."""
    step = np.log10(rates[1] / rates[0])
    return max(1.0, float(2 * np.sqrt(np.pi) * SMOOTHING / step))


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
