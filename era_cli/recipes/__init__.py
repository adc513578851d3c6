"""Recipes: every hyper-parameter of a run, checked, and the named ones. Loads no torch."""

from era_cli.recipes.named import (
    RECIPES,
    SWEEP_FROM,
    SWEEP_STEPS,
    SWEEP_TO,
    default,
    named,
    session10,
    session12,
    usual,
    with_options,
)
from era_cli.recipes.recipe import (
    LAST_SEED,
    NETWORK_STAGES,
    REFERENCE_IMAGE_SIZE,
    RENAMED_PRECISIONS,
    Range,
    Recipe,
    UnknownField,
    current,
    flag,
)

__all__ = [
    "LAST_SEED",
    "NETWORK_STAGES",
    "RECIPES",
    "REFERENCE_IMAGE_SIZE",
    "RENAMED_PRECISIONS",
    "SWEEP_FROM",
    "SWEEP_STEPS",
    "SWEEP_TO",
    "Range",
    "Recipe",
    "UnknownField",
    "current",
    "default",
    "flag",
    "named",
    "session10",
    "session12",
    "usual",
    "with_options",
]
