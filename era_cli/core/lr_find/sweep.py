"""The learning-rate range test: a short training of a temporary model while the rate rises exponentially."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from era_cli.core.lr_find import suggestions as lr_suggestions
from era_cli.core.networks import networks
from era_cli.core.training import trainer
from era_cli.core.training.lightning import L
from era_cli.core.training.schedules import Exponential
from era_cli.core.training.setup import Setup
from era_cli.core.training.signals import SignalCallback
from era_cli.listener import Advance, Listener
from era_cli.recipes import REFERENCE_IMAGE_SIZE, SWEEP_FROM, SWEEP_STEPS, SWEEP_TO
from era_cli.results import LrSweep

_MEMORY = 0.8  # of the running mean of the loss, by which divergence is decided
_TIMED_BATCH = 64  # images of the step that tells how long a sweep will take


def sweep(
    setup: Setup,
    listener: Listener,
    *,
    low: float = SWEEP_FROM,
    high: float = SWEEP_TO,
    steps: int = SWEEP_STEPS,
    seeds: int = 1,
) -> LrSweep:
    """Sweeps the rate from `low` to `high` with `seeds` seeds, from the recipe's on, and suggests a peak rate.

    Neither the data nor any random stream of a later training is touched.

    Raises:
        UsageError: a seed is too large.
        EraError: memory ran out.
        Interrupted: a signal came.
    """
    # Compiling takes longer than it could save, and a sweep is about one size of image: the full one.
    once = dataclasses.replace(setup.recipe, compile=False, initial_size=REFERENCE_IMAGE_SIZE)
    recipes = [dataclasses.replace(once, seed=once.seed + offset) for offset in range(seeds)]
    schedule = Exponential(low, high, steps)
    losses = np.full((seeds, steps), np.nan)
    stops: list[str | None] = []
    if setup.device.accelerator == "cpu":
        listener.note(_how_long(setup, steps * seeds))
    with listener.work("sweeping the learning rate", steps * seeds, "steps") as advance:
        for place, recipe in enumerate(recipes):
            watch = _SweepWatch(schedule.rates, advance)
            own = dataclasses.replace(setup, recipe=recipe)
            module = own.classifier(schedule, listener.note)
            trainer.run(own, module, callbacks=[watch], steps=steps)
            losses[place, : len(watch.losses)] = watch.losses
            stops.append(watch.stop)
    return _analyzed(schedule.rates, losses, tuple(recipe.seed for recipe in recipes), tuple(stops))


class _SweepWatch(SignalCallback):
    """Keeps the loss of each step, and ends the sweep when it diverges."""

    def __init__(self, rates: npt.NDArray[np.float64], advance: Advance) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.stop: str | None = None
        self._rates = rates
        self._advance = advance
        self._mean = 0.0
        self._lowest = math.inf

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ends the sweep where the step that was done diverged."""
        self.signals.raise_received()
        rate, loss = self._rates[len(self.losses)], float(outputs["loss"])
        self._advance(1)
        if not math.isfinite(loss):
            self._end(trainer, f"the loss was NaN or infinite at a learning rate of {rate:.3g}")
            return
        self.losses.append(loss)
        self._mean = _MEMORY * self._mean + (1 - _MEMORY) * loss
        smoothed = self._mean / (1 - _MEMORY ** len(self.losses))
        self._lowest = min(self._lowest, smoothed)
        if smoothed > lr_suggestions.divergence(np.array(self.losses), self._lowest):
            self._end(trainer, f"the loss diverged at a learning rate of {rate:.3g}")

    def _end(self, trainer: L.Trainer, why: str) -> None:
        self.stop = why
        trainer.should_stop = True


def _analyzed(
    rates: npt.NDArray[np.float64],
    losses: npt.NDArray[np.float64],
    seeds: tuple[int, ...],
    stops: tuple[str | None, ...],
) -> LrSweep:
    valid = int(np.isfinite(losses).all(axis=0).sum())  # steps that the sweep of every seed reached
    mean = losses[:, :valid].mean(axis=0)
    smoothed = np.full(len(rates), np.nan)
    if valid:
        smoothed[:valid] = lr_suggestions.smooth(rates[:valid], mean)
    picked, verdict = lr_suggestions.suggest(rates[:valid], mean)
    each = [lr_suggestions.suggest(rates[:valid], own[:valid])[0] for own in losses] if picked else []
    suggestions = lr_suggestions.over_seeds(picked, each)
    chosen, reason = lr_suggestions.recommend(suggestions)
    return LrSweep(
        rates=rates,
        losses=losses,
        smoothed=smoothed,
        seeds=seeds,
        stops=stops,
        suggestions=suggestions,
        recommended=chosen,
        reason=reason,
        verdict=verdict,
    )


def _how_long(setup: Setup, steps: int) -> str:
    """A sentence, from the time of one small step: time is proportional to the number of images."""
    network = networks.build(setup.recipe, len(setup.dataset.classes)).train()
    chosen = setup.train_indices[:_TIMED_BATCH]
    images = setup.normalization(torch.from_numpy(setup.dataset.images[chosen]))
    labels = torch.from_numpy(setup.dataset.labels[chosen])
    bf16 = setup.device.precision == "bf16"
    for _ in range(2):  # the first one warms up
        started = time.monotonic()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(network(images), labels)
        loss.backward()
    seconds = (time.monotonic() - started) / len(chosen) * setup.recipe.batch_size * steps
    return f"{steps} steps of {setup.recipe.batch_size} images take about {_rounded(seconds)} on this CPU."


def _rounded(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 100 else f"{round(seconds / 60)} min"
