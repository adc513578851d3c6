"""What `era fit` settles before it trains; what it refuses stands in test_training and test_resume."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from era_cli.core.fit import start
from era_cli.core.fit.fit import Fit
from era_cli.core.lr_find import sweep as lr_range
from era_cli.core.training import setup
from era_cli.errors import EraError, UsageError
from era_cli.listener import Listener
from era_cli.recipes import default, session10, with_options
from era_cli.runs.run import Run
from tests.core.fit.test_resume import assert_equal_runs
from tests.support import request

SMALL = {"image_size": 8, "precision": "32"}


def prepared(runs_dir: Path, named: Any = None, **given: Any) -> Fit:
    given = {**SMALL, **given}
    recipe = with_options(named or default(), given)
    return start.prepare(replace(request(runs_dir), recipe=recipe, given=given), Listener())


def test_few_images_get_a_smaller_batch_and_a_peak_in_proportion_and_are_told_so(tmp_path: Path) -> None:
    fit = prepared(tmp_path, limit_train=500)
    assert fit.setup.recipe.batch_size == 32  # the largest power of two that makes eight steps
    assert fit.setup.recipe.max_lr == default().max_lr * 32 / 128
    assert fit.setup.steps_per_epoch >= setup.FEWEST_STEPS_PER_EPOCH
    assert any("using 32" in note for note in fit.notes)
    assert fit.run.read().as_dict()["recipe"]["batch_size"] == 32


def test_enough_images_keep_the_recipes_batch(tmp_path: Path) -> None:
    fit = prepared(tmp_path)
    assert (fit.setup.recipe.batch_size, fit.setup.recipe.max_lr) == (128, default().max_lr)
    assert not any("using" in note for note in fit.notes)


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
    recipe = prepared(tmp_path).run.read().as_dict()["recipe"]
    assert (recipe["val_size"], recipe["image_size"]) == (144, 8)


AUTO: dict[str, Any] = {"batch_size": 16, "epochs": 1, "limit_train": 80}  # five steps


class Notes(Listener):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fit, list[str]]:
    """A run whose peak rate was found first, trained to its end, and what was told before it; not to be written to."""
    with pytest.MonkeyPatch.context() as patch:
        options = {"low": 1e-3, "high": 0.2, "steps": 24, "seeds": 1}
        patch.setattr(lr_range.sweep, "__kwdefaults__", options)
        listener = Notes()
        asked = replace(request(tmp_path_factory.mktemp("runs"), **AUTO), find_lr=True)
        fit = start.prepare(asked, listener)
    fit.train(Listener())
    return fit, listener.notes


def test_training_after_a_sweep_equals_training_at_that_rate_without_one(
    found: tuple[Fit, list[str]], tmp_path: Path
) -> None:
    fit, _ = found
    plain = start.prepare(request(tmp_path, **AUTO, max_lr=fit.setup.recipe.max_lr), Listener())
    plain.train(Listener())
    assert_equal_runs(fit.run.path, plain.run.path)
    assert plain.run.read().as_dict()["lr_find"] is None
    assert plain.sweep is plain.plan().sweep is None


def test_run_json_tells_how_the_rate_was_found(found: tuple[Fit, list[str]]) -> None:
    fit, notes = found
    document, sweep = fit.run.read(), fit.sweep
    assert sweep is not None
    assert fit.plan().sweep is sweep
    told = document["lr_find"]
    rates = {suggestion["rule"]: suggestion["lr"] for suggestion in told["suggestions"]}
    assert rates == {suggestion.rule: suggestion.lr for suggestion in sweep.suggestions}
    chosen = told["recommended"]
    assert rates[chosen["rule"]] == chosen["lr"] == document["recipe"]["max_lr"]
    assert max(row.lr for row in fit.run.steps()) == pytest.approx(chosen["lr"])
    assert told["reason"] == sweep.reason != ""
    assert (told["min_lr"], told["max_lr"]) == pytest.approx((1e-3, 0.2))
    assert (told["steps"], told["seeds"], told["stops"]) == (24, [0], list(sweep.stops))
    assert any(f"--max-lr auto takes {chosen['lr']:.3g}" in note and sweep.reason in note for note in notes)


def test_a_found_rate_is_not_sought_again_by_a_resumed_run(
    found: tuple[Fit, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, _ = found
    run = Run(shutil.copytree(fit.run.path, tmp_path / "copy"))
    run.update(status="interrupted")
    monkeypatch.setattr(lr_range, "sweep", lambda *_, **__: pytest.fail("swept again"))
    for find_lr in (True, False):
        again = start.resume(run, replace(request(tmp_path, source=None), given={}, find_lr=find_lr), Listener())
        assert again.setup.recipe == fit.setup.recipe
    assert run.read().as_dict()["lr_find"] == fit.run.read().as_dict()["lr_find"]
    other = replace(request(tmp_path, source=None), given={"max_lr": fit.setup.recipe.max_lr * 2})
    with pytest.raises(UsageError, match=r"--max-lr .* differs"):
        start.resume(run, other, Listener())


def test_a_run_whose_rate_was_given_is_not_resumed_with_auto(found: tuple[Fit, list[str]], tmp_path: Path) -> None:
    run = Run(shutil.copytree(found[0].run.path, tmp_path / "copy"))
    run.update(status="interrupted", lr_find=None)
    asked = replace(request(tmp_path, source=None), given={}, find_lr=True)
    with pytest.raises(UsageError, match=f"--max-lr auto differs from the {found[0].setup.recipe.max_lr} of"):
        start.resume(run, asked, Listener())


def test_where_no_rate_is_found_no_run_is_made_and_the_mend_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"low": 1e-3, "high": 0.2, "steps": 3, "seeds": 1}
    monkeypatch.setattr(lr_range.sweep, "__kwdefaults__", options)
    with pytest.raises(EraError, match=r"found no rate \(3 valid steps are too few.*\): give --max-lr a number"):
        start.prepare(replace(request(tmp_path / "runs", **AUTO), find_lr=True), Listener())
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("find_lr", [True, False])
def test_the_note_on_a_smaller_batch_names_no_rate_that_will_not_be_used(find_lr: bool, tmp_path: Path) -> None:
    given = {**SMALL, "limit_train": 500}
    asked = replace(request(tmp_path), recipe=with_options(default(), given), given=given, find_lr=find_lr)
    (note,) = setup.Setup.of(asked, Listener()).notes
    assert "using 32" in note
    assert ("with a peak learning rate of" in note) is not find_lr
