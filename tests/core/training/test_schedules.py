from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from era_cli.core.training.schedules import FEWEST_STEPS, Exponential, OneCycle, Schedule
from era_cli.recipes import Recipe, default, session12


def optimizer(groups: int = 1) -> torch.optim.SGD:
    parameters = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(groups)]
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def rates_of_groups(schedule: Schedule, steps: int, groups: int = 1) -> list[tuple[float, ...]]:
    """The rates that each of `steps` steps is done with, one a parameter group."""
    own = optimizer(groups)
    scheduler = schedule(own)
    seen = []
    for _ in range(steps):
        seen.append(tuple(group["lr"] for group in own.param_groups))
        own.step()
        scheduler.step()
    return seen


def rates(recipe: Recipe, total_steps: int) -> list[float]:
    return [rate for (rate,) in rates_of_groups(OneCycle(recipe, total_steps), total_steps)]


def test_session12_peaks_at_epoch_five() -> None:
    steps = 24 * 175
    seen = rates(session12(), steps)
    peak = max(range(steps), key=seen.__getitem__)
    assert abs(peak - 5 * 175) <= 1
    assert seen[peak] == pytest.approx(0.261)
    assert seen[0] == pytest.approx(0.00261)
    assert seen[-1] == pytest.approx(0.0000261)
    middle = (peak + steps - 1) // 2
    assert seen[middle] == pytest.approx((seen[peak] + seen[-1]) / 2, rel=1e-2)  # a straight line


def test_the_momentum_stays() -> None:
    own = optimizer()
    scheduler = OneCycle(session12(), 240)(own)
    for _ in range(100):
        own.step()
        scheduler.step()
        assert {group["momentum"] for group in own.param_groups} == {0.9}


@pytest.mark.parametrize("steps", [FEWEST_STEPS, 4, 5, 8, 100])
@pytest.mark.parametrize("warmup", [0.01, 0.2, 0.25, 0.5, 0.99])
def test_every_run_has_finite_rates(steps: int, warmup: float) -> None:
    seen = rates(replace(default(), warmup=warmup, max_lr=0.1), steps)
    assert all(0 < rate <= 0.1 + 1e-12 for rate in seen)
    assert max(seen) > seen[0]


@pytest.mark.parametrize(("low", "high", "steps"), [(1e-5, 10.0, 100), (0.3, 0.4, 7), (1e-7, 1e6, 2)])
def test_the_exponential_rises_by_one_factor(low: float, high: float, steps: int) -> None:
    seen = [rate for (rate,) in rates_of_groups(Exponential(low, high, steps), steps)]
    assert seen[0] == pytest.approx(low)
    assert seen[-1] == pytest.approx(high)
    factor = (high / low) ** (1 / (steps - 1))
    assert [after / before for before, after in pairwise(seen)] == pytest.approx([factor] * (steps - 1))


def test_the_exponential_holds_for_every_parameter_group() -> None:
    seen = rates_of_groups(Exponential(1e-3, 1.0, 4), 4, groups=3)
    assert seen == [pytest.approx((rate, rate, rate)) for rate in (1e-3, 1e-2, 1e-1, 1.0)]


def test_past_its_end_the_exponential_stays() -> None:
    seen = [rate for (rate,) in rates_of_groups(Exponential(1e-3, 1.0, 4), 9)]
    assert seen[3:] == pytest.approx([1.0] * 6)
