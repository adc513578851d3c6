"""The named recipes, and how options replace single fields of one. Loads no torch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from era_cli.errors import UsageError
from era_cli.recipes.recipe import OPTIMIZER_FIELDS, Recipe
from era_cli.text import did_you_mean, quoted


def default() -> Recipe:
    """What `era fit` does by default."""
    return Recipe()


def session12() -> Recipe:
    """The course project's Lightning run (its log: 92.09 % test), with its settings.

    Its 45,000/5,000 split is what era takes of CIFAR-10 anyway. The course never reshuffled the
    images between epochs; era always does.
    """
    return Recipe(
        name="session12",
        epochs=24,
        batch_size=256,
        max_lr=0.261,
        nesterov=False,
        weight_decay=5e-4,
        decay_norm_and_bias=True,
        label_smoothing=0.0,
        warmup=5 / 24,  # the peak comes at epoch 5
        dropout=0.05,
        logit_scale=1.0,
        whiten=False,
        dirac=False,
        crop_mode="zero",
        cutout=0,
    )


def session10() -> Recipe:
    """The course project's Adam run, on all 50,000 images (its claim: 93.11 % test, 96.15 % train)."""
    return Recipe(
        name="session10",
        epochs=24,
        batch_size=512,
        optimizer="adam",
        max_lr=0.018,
        nesterov=False,
        weight_decay=1e-4,
        decay_norm_and_bias=True,
        label_smoothing=0.0,
        warmup=5 / 24,
        logit_scale=1.0,
        whiten=False,
        dirac=False,
        crop_mode="zero",
        flip=0.2,
        cutout=8,
        val_size=0,
    )


def fast() -> Recipe:
    """A third of the arithmetic per image and a third of the epochs of `default`, on all training images.

    After airbench94 (Jordan 2024, arXiv:2404.00498) with its successor's optimizer (Jordan et al. 2024,
    kellerjordan.github.io/posts/muon): eight epochs of batches of 2,000, a rate that falls from its peak to zero. A
    step at the peak takes 0.4 % of the classifier's weights, biases and batch-norms. There the loss is summed over a
    batch, here averaged: for all but the filters, whose updates have no length of their own, the rates are in effect
    2,000 times smaller. Not tuned yet.
    """
    return Recipe(
        name="fast",
        network="fastnet",
        epochs=8,
        batch_size=2_000,
        optimizer="muon",
        max_lr=0.24,
        momentum=0.6,
        weight_decay=0.004 / 0.24,
        decay_norm_and_bias=True,
        label_smoothing=0.2,
        warmup=0.01,
        div_factor=1.0,
        final_div_factor=1e3,
        logit_scale=1 / 9,
        crop_padding=2,
        flip_mode="alternate",
        cutout=0,
        val_size=0,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "default": default,
    "fast": fast,
    "session12": session12,
    "session10": session10,
}

SWEEP_FROM, SWEEP_TO, SWEEP_STEPS = 1e-5, 10.0, 100  # learning rates and steps of a learning-rate range test


def named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UsageError: there is none.
    """
    try:
        return RECIPES[name]()
    except KeyError:
        close = did_you_mean(name, RECIPES)
        raise UsageError(f"there is no recipe {quoted(name)}: --recipe takes {', '.join(RECIPES)}{close}") from None


def with_options(recipe: Recipe, options: Mapping[str, Any]) -> Recipe:
    """`recipe` with only the given fields replaced; an optimizer brings its own peak learning rate and weight decay.

    Raises:
        UsageError: a value is not allowed.
    """
    brought = {}
    if options.get("optimizer", recipe.optimizer) != recipe.optimizer:
        brought = OPTIMIZER_FIELDS.get(options["optimizer"], {})
    return dataclasses.replace(recipe, **{**brought, **options})


def usual(recipe: Recipe) -> Recipe:
    """The named recipe that this one began as, but for what this one's optimizer brings with it."""
    return _with_optimizer(recipe.name, recipe.optimizer)


@functools.cache
def _with_optimizer(name: str, optimizer: str) -> Recipe:
    recipe = named(name)
    return dataclasses.replace(with_options(recipe, {"optimizer": optimizer}), optimizer=recipe.optimizer)
