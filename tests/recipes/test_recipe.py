from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from era_cli import recipes
from era_cli.core.data.splits import train_and_val
from era_cli.errors import UsageError
from era_cli.recipes import RECIPES, Range, Recipe
from era_cli.recipes.recipe import OPTIMIZER_FIELDS

FIELDS = {spec.name: spec for spec in dataclasses.fields(Recipe)}


def test_session12_is_the_course_run() -> None:
    recipe = recipes.named("session12")
    assert recipe == Recipe(
        name="session12",
        epochs=24,
        batch_size=256,
        optimizer="sgd",
        max_lr=0.261,
        momentum=0.9,
        nesterov=False,
        weight_decay=5e-4,
        decay_norm_and_bias=True,
        label_smoothing=0.0,
        warmup=5 / 24,
        anneal="linear",
        div_factor=100.0,
        final_div_factor=100.0,
        dropout=0.05,
        logit_scale=1.0,
        whiten=False,
        dirac=False,
        crop_padding=4,
        crop_mode="zero",
        flip=0.5,
        cutout=0,
        val_size=recipe.val_size,
        limit_train=None,
        image_size=None,
        seed=0,
        precision="auto",
    )
    assert recipe.warmup * recipe.epochs == pytest.approx(5)  # the peak comes at epoch 5


@pytest.mark.parametrize(("name", "counts"), [("session12", (45_000, 5_000)), ("session10", (50_000, 0))])
def test_what_the_course_recipes_hold_out_of_cifar10(name: str, counts: tuple[int, int]) -> None:
    train, val = train_and_val(np.repeat(np.arange(10), 5_000), recipes.named(name))
    assert (len(train), len(val)) == counts


def test_session10_is_the_course_run_with_adam() -> None:
    recipe = recipes.named("session10")
    wanted = {
        "name": "session10",
        "epochs": 24,
        "batch_size": 512,
        "optimizer": "adam",
        "max_lr": 0.018,
        "weight_decay": 1e-4,
        "decay_norm_and_bias": True,
        "label_smoothing": 0.0,
        "warmup": 5 / 24,
        "anneal": "linear",
        "dropout": 0.0,
        "crop_padding": 4,
        "crop_mode": "zero",
        "flip": 0.2,
        "cutout": 8,
        "val_size": 0,
    }
    assert {name: getattr(recipe, name) for name in wanted} == wanted


def test_the_default_recipe_is_what_no_arguments_give() -> None:
    assert recipes.named("default") == recipes.default() == Recipe()


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'session11'.*--recipe.*default, fast, session12, session10"):
        recipes.named("session11")


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("epochs", 0, "a whole number in [1, 10000]"),
        ("epochs", 10_001, "a whole number in [1, 10000]"),
        ("epochs", 2.0, "a whole number in [1, 10000]"),
        ("epochs", True, "a whole number in [1, 10000]"),
        ("epochs", None, "a whole number in [1, 10000]"),
        ("epochs", "24", "a whole number in [1, 10000]"),
        ("batch_size", math.nan, "a whole number in [2, 65536]"),
        ("optimizer", "SGD", "one of sgd, adam, muon"),
        ("optimizer", None, "one of sgd, adam, muon"),
        ("max_lr", -1.0, "a number in (0, 100]"),
        ("max_lr", math.inf, "a number in (0, 100]"),
        ("max_lr", True, "a number in (0, 100]"),
        ("max_lr", "0.1", "a number in (0, 100]"),
        ("nesterov", 1, "true or false"),
        ("nesterov", None, "true or false"),
        ("weight_decay", -1e-9, "a number in [0, 1]"),
        ("div_factor", 0.5, "a number in [1, "),
        ("precision", 32, "one of auto, fp32, bf16, fp16"),
        ("name", 3, "text"),
    ],
)
def test_a_wrong_value_names_field_value_and_range(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(UsageError) as caught:
        Recipe(**{field: value})
    message = str(caught.value)
    assert message.startswith(f"{field} is {value!r}, but must be {allowed}")
    assert f"({recipes.flag(field)})" in message


@pytest.mark.parametrize("field", [name for name, spec in FIELDS.items() if "range" in spec.metadata])
def test_the_bounds_of_every_number(field: str) -> None:
    allowed: Range = FIELDS[field].metadata["range"]
    bound: Any
    for bound, is_open in ((allowed.low, allowed.open_low), (allowed.high, allowed.open_high)):
        if not is_open:
            assert getattr(Recipe(**{field: bound}), field) == bound
    outside = [allowed.low if allowed.open_low else allowed.low - 1, allowed.high + 1, math.nan, math.inf, -math.inf]
    for bound in outside:
        with pytest.raises(UsageError, match=f"{field} is {bound!r}"):
            Recipe(**{field: bound})


def test_every_field_has_limits_and_an_option() -> None:
    for name, spec in FIELDS.items():
        assert name == "name" or {"help", "panel"} <= set(spec.metadata), name
        assert name == "name" or spec.type == "bool" or {"range", "choices"} & set(spec.metadata), name


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_comes_back_from_json(name: str) -> None:
    recipe = recipes.named(name)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.as_dict(), allow_nan=False))) == recipe


@given(
    max_lr=st.floats(min_value=0, max_value=100, exclude_min=True),
    seed=st.integers(0, 2**32 - 1),
    val_size=st.none() | st.integers(0, 10**9),
)
def test_any_allowed_value_comes_back_from_json(max_lr: float, seed: int, val_size: int | None) -> None:
    recipe = Recipe(max_lr=max_lr, seed=seed, val_size=val_size)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.as_dict(), allow_nan=False))) == recipe


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"momentum": "0.9"}, "momentum is '0.9', but must be a number in [0, 1)"),
        ({"network": "vit"}, "network is 'vit', but must be one of resnet"),
    ],
)
def test_a_damaged_stored_recipe_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Recipe.from_dict({**Recipe().as_dict(), **changes})


def test_a_stored_recipe_must_have_every_field() -> None:
    for name in FIELDS:
        stored = Recipe().as_dict()
        del stored[name]
        with pytest.raises(ValueError, match=f"^{name} is missing"):
            Recipe.from_dict(stored)


def test_only_what_was_given_is_replaced() -> None:
    recipe = recipes.with_options(recipes.named("session12"), {"epochs": 3})
    assert recipe == dataclasses.replace(recipes.named("session12"), epochs=3)
    assert recipe.batch_size == 256


def test_adam_brings_its_own_peak_and_decay() -> None:
    sgd = recipes.named("session12")
    recipe = recipes.with_options(sgd, {"optimizer": "adam"})
    assert recipe.optimizer == "adam"
    assert recipe.max_lr < sgd.max_lr / 5  # a rate for SGD would make Adam diverge
    assert (recipe.weight_decay, recipe.nesterov) == (1e-4, False)
    untouched = {"optimizer", "max_lr", "weight_decay", "nesterov"}
    for name in FIELDS.keys() - untouched:
        assert getattr(recipe, name) == getattr(sgd, name), name


def test_given_values_win_over_the_optimizers() -> None:
    recipe = recipes.with_options(Recipe(), {"max_lr": 0.0123, "optimizer": "adam"})
    assert (recipe.max_lr, recipe.weight_decay) == (0.0123, 1e-4)
    recipe = recipes.with_options(Recipe(), {"optimizer": "adam", "weight_decay": 0.25})
    assert (recipe.max_lr, recipe.weight_decay) == (OPTIMIZER_FIELDS["adam"]["max_lr"], 0.25)


def test_naming_the_recipes_own_optimizer_changes_nothing() -> None:
    for name in ("session12", "session10"):
        recipe = recipes.named(name)
        assert recipes.with_options(recipe, {"optimizer": recipe.optimizer}) == recipe


def test_sgd_instead_of_adam_brings_the_defaults() -> None:
    recipe = recipes.with_options(recipes.named("session10"), {"optimizer": "sgd"})
    default = recipes.default()
    assert (recipe.max_lr, recipe.weight_decay) == (default.max_lr, default.weight_decay)
    assert recipe.batch_size == 512


def test_a_field_that_came_later_has_a_stated_value() -> None:
    before: dict[str, Any] = {
        "whiten": False,
        "dirac": False,
        "compile": False,
        "network": "resnet",
        "flip_mode": "random",
        "initial_size": 32,
        "grow_until": 0.5,
        "head_lr_factor": 2.8,
        "bias_lr_factor": 0.22,
    }
    stored = {name: value for name, value in Recipe().as_dict().items() if name not in before}
    assert Recipe.from_dict(stored, older=True) == Recipe(**before)
    assert Recipe.from_dict(Recipe().as_dict(), older=True) == Recipe() != Recipe(**before)


def test_steps_per_epoch_are_full_batches() -> None:
    assert [Recipe(batch_size=32).steps_per_epoch(count) for count in (31, 32, 175)] == [0, 1, 5]
