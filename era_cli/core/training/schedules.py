"""How the learning rate changes from step to step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from era_cli.recipes import Recipe

FEWEST_STEPS = 3  # of a one-cycle: the first rate, the peak, the last rate

Schedule = Callable[[Optimizer], LRScheduler]


@dataclass(frozen=True)
class OneCycle:
    """Up to the recipe's peak and down again (Smith and Topin 2017, arXiv:1708.07120), over all steps."""

    recipe: Recipe
    total_steps: int

    def __call__(self, optimizer: Optimizer) -> LRScheduler:
        """The scheduler of `optimizer`, to be stepped once per training step."""
        return OneCycleLR(
            optimizer,
            max_lr=[self.recipe.max_lr * factor for factor in _factors(optimizer)],
            total_steps=self.total_steps,
            # The peak cannot come before the second step: OneCycleLR would divide by zero.
            pct_start=max(self.recipe.warmup, 2 / self.total_steps),
            anneal_strategy=self.recipe.anneal,  # type: ignore[arg-type]
            cycle_momentum=False,
            div_factor=self.recipe.div_factor,
            final_div_factor=self.recipe.final_div_factor,
        )


@dataclass(frozen=True)
class Exponential:
    """From `low` to `high` in `steps` steps, each the same factor above the one before; then it stays at `high`."""

    low: float
    high: float
    steps: int

    @functools.cached_property
    def rates(self) -> npt.NDArray[np.float64]:
        """The learning rate of each step, (steps,)."""
        return np.geomspace(self.low, self.high, self.steps)

    def rate(self, step: int) -> float:
        """The learning rate of `step`, from 0."""
        return float(self.rates[min(step, self.steps - 1)])

    def __call__(self, optimizer: Optimizer) -> LRScheduler:
        """The scheduler of `optimizer`, to be stepped once per training step."""
        for group, factor in zip(optimizer.param_groups, _factors(optimizer), strict=True):
            group["lr"] = factor  # LambdaLR multiplies
        return LambdaLR(optimizer, self.rate)


def _factors(optimizer: Optimizer) -> list[float]:
    """What the rate of each parameter group is, as a multiple of the schedule's."""
    return [group.get("lr_factor", 1.0) for group in optimizer.param_groups]
