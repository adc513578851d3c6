"""Rules that read a sweep, on curves whose answer is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from era_cli.core.lr_find import suggestions as lr_suggestions
from era_cli.core.lr_find.suggestions import FEWEST_POINTS, SMOOTHING
from era_cli.results import STEEPEST, TENTH, VALLEY, LrSuggestion

Floats = npt.NDArray[np.float64]
RULES = {STEEPEST, VALLEY, TENTH}
RATES = np.geomspace(1e-5, 10, 121)  # twenty to a decade
DECADES = np.log10(RATES)
GRID = DECADES[1] - DECADES[0]


def sigmoid(centre: float, width: float = 0.3, decades: Floats = DECADES) -> Floats:
    """Falls from 2.3 to 0.8, fastest at 10 ** centre."""
    return 2.3 - 1.5 / (1 + np.exp(-(decades - centre) / width))


def drawn(*corners: tuple[float, float]) -> Floats:
    """Straight lines in log10 of the rate, from corner to corner."""
    places, losses = zip(*corners, strict=True)
    return np.interp(DECADES, places, losses)


def suggested(losses: Floats, rates: Floats = RATES) -> dict[str, float]:
    """log10 of each suggestion."""
    picked, verdict = lr_suggestions.suggest(rates, losses)
    assert set(picked) == RULES
    assert verdict == ""
    return {rule: float(np.log10(rate)) for rule, rate in picked.items()}


def refused(losses: Floats, rates: Floats = RATES) -> str:
    picked, verdict = lr_suggestions.suggest(rates, losses)
    assert picked == {}
    return verdict


@pytest.mark.parametrize("width", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("centre", [-3.5, -2.0, -0.75])
def test_the_steepest_place_of_a_sigmoid_is_its_centre(centre: float, width: float) -> None:
    assert suggested(sigmoid(centre, width))[STEEPEST] == pytest.approx(centre, abs=1.01 * GRID)


@pytest.mark.parametrize("steps", [30, 60, 400])
def test_steepest_is_independent_of_the_step(steps: int) -> None:
    rates = np.geomspace(1e-5, 10, steps)
    steepest = suggested(sigmoid(-2.0, decades=np.log10(rates)), rates)[STEEPEST]
    assert steepest == pytest.approx(-2.0, abs=max(SMOOTHING, 6 / (steps - 1)))


@pytest.mark.parametrize("seed", range(5))
def test_noise_moves_steepest_within_the_kernel(seed: int) -> None:
    noise = 0.03 * np.random.default_rng(seed).normal(size=len(RATES))
    assert suggested(sigmoid(-2.0, 0.15) + noise)[STEEPEST] == pytest.approx(-2.0, abs=2 * SMOOTHING)


def test_a_tenth_of_the_rate_at_the_minimum() -> None:
    bowl = 1 + (DECADES + 0.5) ** 2
    assert suggested(bowl)[TENTH] == pytest.approx(-1.5, abs=1.01 * GRID)


def test_the_valley_is_the_middle_of_the_longest_fall() -> None:
    losses = drawn((-5, 2.3), (-4, 2.15), (-3.25, 2.3), (-0.75, 0.8), (1, 3.0))
    assert suggested(losses)[VALLEY] == pytest.approx((-3.25 - 0.75) / 2, abs=SMOOTHING)


def test_the_valley_may_lie_before_a_bump() -> None:
    losses = drawn((-5, 2.3), (-2, 1.0), (-1.5, 1.08), (-0.75, 0.9), (1, 3.0))
    assert suggested(losses)[VALLEY] == pytest.approx((-5 - 2) / 2, abs=SMOOTHING)


def test_a_steeper_fall_after_the_minimum_does_not_win() -> None:
    calm = drawn((-5, 2.3), (-3, 2.3), (-1.5, 1.5), (-0.5, 1.3), (1, 5.0))
    spiked = np.where(DECADES > 0.2, np.interp(DECADES, [0.2, 0.4, 0.6, 1], [3.0, 40.0, 2.5, 2.4]), calm)
    slope = np.gradient(lr_suggestions.smooth(RATES, spiked), DECADES)
    assert DECADES[slope.argmin()] > 0.2  # without a cut the far side of the spike would win
    assert -3 < suggested(spiked)[STEEPEST] < -1.5
    assert suggested(spiked)[VALLEY] < -0.5


def test_a_minimum_after_divergence_is_ignored() -> None:
    rates_by_rule = suggested(drawn((-5, 2.3), (-3, 2.3), (-1, 1.2), (0, 3.0), (1, 0.5)))
    assert rates_by_rule[TENTH] == pytest.approx(-2, abs=SMOOTHING)
    assert -3 < rates_by_rule[STEEPEST] < -1
    assert rates_by_rule[VALLEY] < -1


def test_a_bump_does_not_end_the_fall() -> None:
    rates_by_rule = suggested(drawn((-5, 1.1), (-3.5, 1.1), (-2.4, 0.9), (-1.6, 0.97), (0.2, 0.44), (1, 3.0)))
    assert rates_by_rule[TENTH] == pytest.approx(-0.8, abs=2 * SMOOTHING)


def test_smoothing_keeps_a_straight_line() -> None:
    line = 2.3 - 0.3 * DECADES
    middle = slice(len(RATES) // 4, -len(RATES) // 4)
    np.testing.assert_allclose(lr_suggestions.smooth(RATES, line)[middle], line[middle], atol=1e-6)


def test_the_kernel_is_a_normal_curve_over_decades() -> None:
    impulse = np.full(len(RATES), 10.0)
    impulse[60] += 1.0
    spread = lr_suggestions.smooth(RATES, impulse) - 10.0
    mean = float(np.average(DECADES, weights=spread))
    assert mean == pytest.approx(DECADES[60])
    assert np.sqrt(np.average((DECADES - mean) ** 2, weights=spread)) == pytest.approx(SMOOTHING, rel=1e-3)
    assert np.average((DECADES - mean) ** 4, weights=spread) == pytest.approx(3 * SMOOTHING**4, rel=1e-2)


def test_divergence_does_not_smear_into_the_minimum() -> None:
    calm = drawn((-5, 2.3), (-3, 2.3), (-0.5, 1.2), (1, 1.2))
    wild = np.where(DECADES > -0.5, 500.0, calm)
    assert suggested(wild)[TENTH] == pytest.approx(-1.5, abs=2.5 * SMOOTHING)


@pytest.mark.parametrize("count", [0, 1, 2, 12, FEWEST_POINTS - 1])
def test_too_few_points_give_no_rate(count: int) -> None:
    rates = np.geomspace(1e-5, 10, count)
    verdict = refused(sigmoid(-2.0, decades=np.log10(rates)), rates)
    assert f"{count} valid step{' is' if count == 1 else 's are'} too few" in verdict
    assert str(FEWEST_POINTS) in verdict


def test_a_rate_is_what_a_person_reads() -> None:
    picked, _ = lr_suggestions.suggest(RATES, 1 + (DECADES + 0.55) ** 2)  # its minimum is at 0.28183829...
    assert all(float(f"{rate:.3g}") == rate for rate in picked.values())


def test_the_fewest_points_are_enough() -> None:
    rates = np.geomspace(1e-5, 10, FEWEST_POINTS)
    suggested(sigmoid(-2.0, 0.6, np.log10(rates)), rates)


@pytest.mark.parametrize(
    "losses",
    [2.3 + 0.1 * DECADES, 2.3 + np.exp(DECADES), drawn((-5, 2.3), (0, 2.3), (1, 400.0))],
    ids=["a rise", "a late rise", "flat, then divergence"],
)
def test_a_loss_that_never_falls_gives_no_rate(losses: Floats) -> None:
    assert "from 1e-05 to 10 the loss fell no further than its noise" in refused(losses)


@pytest.mark.parametrize("loss", [1.0, 2.3])
def test_a_loss_that_stays_gives_no_rate(loss: float) -> None:
    assert "no further than its noise" in refused(np.full(len(RATES), loss))


def test_noise_alone_gives_hardly_ever_a_rate() -> None:
    flat = (2.3 + 0.02 * np.random.default_rng(seed).normal(size=len(RATES)) for seed in range(200))
    misled = sum(bool(lr_suggestions.suggest(RATES, losses)[0]) for losses in flat)
    assert misled <= 20


def test_a_jump_after_the_minimum_is_ignored() -> None:
    rates = np.geomspace(1e-5, 10, 20)
    start = [2.302, 2.300, 2.303, 2.299, 2.301, 2.302, 2.298, 2.301, 2.300, 2.299]
    falling = [2.29, 2.27, 2.28, 2.25, 2.21, 2.03]  # by dozens of times the noise of the start
    rates_by_rule = suggested(np.array([*start, *falling, 2.76, 3.25, 4.17, 6.04]), rates)
    assert np.log10(rates[9]) < rates_by_rule[STEEPEST] <= np.log10(rates[15])


def test_the_spread_is_the_range_over_seeds() -> None:
    picked = {STEEPEST: 0.1, VALLEY: 0.02, TENTH: 0.3}
    each = [{STEEPEST: 0.12, VALLEY: 0.03, TENTH: 0.4}, {}, {STEEPEST: 0.15, VALLEY: 0.01, TENTH: 0.5}]
    assert lr_suggestions.over_seeds(picked, each) == (
        LrSuggestion(rule=STEEPEST, lr=0.1, spread=(0.1, 0.15)),
        LrSuggestion(rule=VALLEY, lr=0.02, spread=(0.01, 0.03)),
        LrSuggestion(rule=TENTH, lr=0.3, spread=(0.3, 0.5)),
    )


def test_without_a_suggestion_there_is_no_spread() -> None:
    assert lr_suggestions.over_seeds({}, [{STEEPEST: 0.1}]) == ()


def test_one_of_the_suggestions_is_recommended_for_a_reason() -> None:
    picked, _ = lr_suggestions.suggest(RATES, sigmoid(-2.0))
    suggestions = lr_suggestions.over_seeds(picked, [picked])
    chosen, reason = lr_suggestions.recommend(suggestions)
    assert chosen in suggestions
    assert reason


def test_of_no_suggestions_none_is_recommended() -> None:
    assert lr_suggestions.recommend(()) == (None, "")


@given(
    losses=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=60),  # as a step has them
    low=st.floats(-8, 0),
    span=st.floats(0.01, 8),
)
@example(losses=[0.0] * 60, low=-5.0, span=6.0)
@example(losses=[3.4028234663852886e38, -3.4028234663852886e38] * 30, low=-5.0, span=6.0)
@example(losses=[2.3] * 59 + [3.4028234663852886e38], low=-5.0, span=6.0)
def test_any_finite_losses_give_all_rules_or_a_verdict(losses: list[float], low: float, span: float) -> None:
    rates = np.geomspace(10**low, 10 ** (low + span), len(losses))
    picked, verdict = lr_suggestions.suggest(rates, np.array(losses))
    assert (set(picked) == RULES) is (verdict == "")
    if not picked:
        assert verdict
        return
    slack = 1 + 1e-9
    assert rates[0] / slack <= picked[STEEPEST] <= rates[-1] * slack
    assert rates[0] / slack <= picked[VALLEY] <= rates[-1] * slack
    assert rates[0] / 10 / slack <= picked[TENTH] <= rates[-1] / 10 * slack
    suggestions = lr_suggestions.over_seeds(picked, [picked])
    assert lr_suggestions.recommend(suggestions)[0] in suggestions
