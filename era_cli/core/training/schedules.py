"""How the learning rate changes from step to step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from era_cli.recipes import Recipe

FEWEST_STEPS = 3  # of a one-cycle: the first rate, the peak, the last rate

Schedule = Callable[[Optimizer], LRScheduler]


def one_cycle(recipe: Recipe, total_steps: int) -> Schedule:
    """Up to the recipe's peak and down again (Smith and Topin 2017, arXiv:1708.07120), over all steps."""

    def schedule(optimizer: Optimizer) -> LRScheduler:
        return OneCycleLR(
            optimizer,
            max_lr=recipe.max_lr,
            total_steps=total_steps,
            # The peak cannot come before the second step: OneCycleLR would divide by zero.
            pct_start=max(recipe.warmup, 2 / total_steps),
            anneal_strategy=recipe.anneal,  # type: ignore[arg-type]
            cycle_momentum=False,
            div_factor=recipe.div_factor,
            final_div_factor=recipe.final_div_factor,
        )

    return schedule


def exponential(low: float, high: float, steps: int) -> Schedule:
    """From `low` to `high` in `steps` steps, each the same factor above the one before."""
    rates = np.geomspace(low, high, steps)

    def schedule(optimizer: Optimizer) -> LRScheduler:
        for group in optimizer.param_groups:
            group["lr"] = 1.0  # LambdaLR multiplies
        return LambdaLR(optimizer, lambda step: float(rates[min(step, steps - 1)]))

    return schedule
