"""What `era fit` settles before it trains; what it refuses stands in test_training and test_resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from era_cli.core import preparation, setup
from era_cli.core.training import Fit
from era_cli.listener import Listener
from era_cli.recipe import default, session10, with_options
from tests.conftest import request

SMALL = {"image_size": 8, "precision": "32"}


def prepared(runs_dir: Path, named: Any = None, **given: Any) -> Fit:
    given = {**SMALL, **given}
    recipe = with_options(named or default(), given)
    return preparation.prepare(replace(request(runs_dir), recipe=recipe, given=given), Listener())


def test_few_images_get_a_smaller_batch_and_a_peak_in_proportion_and_are_told_so(tmp_path: Path) -> None:
    fit = prepared(tmp_path, limit_train=500)
    assert fit.setup.recipe.batch_size == 32  # the largest power of two that makes eight steps
    assert fit.setup.recipe.max_lr == default().max_lr * 32 / 128
    assert fit.setup.steps_per_epoch >= setup.FEWEST_STEPS_PER_EPOCH
    assert any("era takes 32" in note for note in fit.notes)
    assert fit.run.read()["recipe"]["batch_size"] == 32


def test_enough_images_keep_the_recipes_batch(tmp_path: Path) -> None:
    fit = prepared(tmp_path)
    assert (fit.setup.recipe.batch_size, fit.setup.recipe.max_lr) == (128, default().max_lr)
    assert not any("era takes" in note for note in fit.notes)


def test_what_the_person_named_is_left_alone(tmp_path: Path) -> None:
    assert prepared(tmp_path, limit_train=500, batch_size=128).setup.recipe.batch_size == 128
    assert prepared(tmp_path, limit_train=500, max_lr=0.3).setup.recipe.max_lr == 0.3


def test_adams_peak_does_not_shrink_with_the_batch(tmp_path: Path) -> None:
    fit = prepared(tmp_path, session10(), limit_train=500)
    assert (fit.setup.recipe.batch_size, fit.setup.recipe.max_lr) == (32, session10().max_lr)


@pytest.mark.parametrize(("epochs", "doubtful"), [(3, True), (4, False)])
def test_too_few_steps_for_the_running_averages_are_told(epochs: int, doubtful: bool, tmp_path: Path) -> None:
    notes = prepared(tmp_path, epochs=epochs).notes  # ten steps an epoch
    assert any("running averages" in note for note in notes) is doubtful


def test_a_class_without_a_validation_image_is_told(tmp_path: Path) -> None:
    assert any("no validation image" in note for note in prepared(tmp_path, val_size=5).notes)
    assert not any("no validation image" in note for note in prepared(tmp_path).notes)
    assert not any("no validation image" in note for note in prepared(tmp_path, val_size=0).notes)


def test_the_flip_is_off_where_a_mirrored_image_is_of_no_class_unless_it_is_named(tmp_path: Path) -> None:
    assert prepared(tmp_path).setup.recipe.flip == 0.0
    assert prepared(tmp_path, flip=0.5).setup.recipe.flip == 0.5


def test_what_was_left_to_the_data_is_settled_in_the_run(tmp_path: Path) -> None:
    recipe = prepared(tmp_path).run.read()["recipe"]
    assert (recipe["val_size"], recipe["image_size"]) == (144, 8)
