"""What `era fit` settles before it trains; what it refuses is in test_fit and test_resume."""

from __future__ import annotations

import json
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
from era_cli.recipes import Recipe, default, session10, with_options
from era_cli.runs.run import Run
from tests.support import assert_equal_runs, request

SMALL = {"image_size": 8, "precision": "fp32"}


def prepared(runs_dir: Path, named: Any = None, **given: Any) -> Fit:
    given = {**SMALL, **given}
    recipe = with_options(named or default(), given)
    return start.prepare(replace(request(runs_dir), recipe=recipe, given=given), Listener())


def test_few_images_get_a_smaller_batch_and_peak(tmp_path: Path) -> None:
    fit = prepared(tmp_path, limit_train=500)
    assert fit.setup.recipe.batch_size == 32  # the largest power of two that makes eight steps
    assert fit.setup.recipe.max_lr == default().max_lr * 32 / 128
    assert fit.setup.steps_per_epoch >= setup.FEWEST_STEPS_PER_EPOCH
    assert any("using 32" in note for note in fit.notes)
    assert fit.run.read().recipe.batch_size == 32


@pytest.mark.parametrize(
    ("named", "given", "batch_size", "max_lr"),
    [
        (default(), {}, 128, default().max_lr),  # enough images
        (default(), {"limit_train": 500, "batch_size": 128}, 128, default().max_lr),
        (default(), {"limit_train": 500, "max_lr": 0.3}, 32, 0.3),
        (session10(), {"limit_train": 500}, 32, session10().max_lr),  # Adam's does not shrink with the batch
    ],
)
def test_what_was_named_is_left_alone(
    named: Recipe, given: dict[str, Any], batch_size: int, max_lr: float, tmp_path: Path
) -> None:
    fit = prepared(tmp_path, named, **given)
    assert (fit.setup.recipe.batch_size, fit.setup.recipe.max_lr) == (batch_size, max_lr)
    assert any("using" in note for note in fit.notes) == (batch_size == 32)
    assert not any("peak learning rate" in note for note in fit.notes)


@pytest.mark.parametrize(("epochs", "doubtful"), [(3, True), (4, False)])
def test_too_few_steps_for_running_averages_are_noted(epochs: int, doubtful: bool, tmp_path: Path) -> None:
    notes = prepared(tmp_path, epochs=epochs).warnings  # ten steps an epoch
    assert any("running averages" in note for note in notes) is doubtful


def test_a_class_without_validation_images_is_noted(tmp_path: Path) -> None:
    assert any("no validation image" in note for note in prepared(tmp_path, val_size=5).warnings)
    assert not any("no validation image" in note for note in prepared(tmp_path).warnings)
    assert not any("no validation image" in note for note in prepared(tmp_path, val_size=0).warnings)


def test_digits_are_flipped_only_on_request(tmp_path: Path) -> None:
    assert prepared(tmp_path).setup.recipe.flip == 0.0
    assert prepared(tmp_path, flip=0.5).setup.recipe.flip == 0.5


def test_defaults_from_the_data_are_recorded(tmp_path: Path) -> None:
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
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fit, list[str]]:
    """A run whose peak rate was swept first, trained to its end, and what was told before it; not to be written to."""
    with pytest.MonkeyPatch.context() as patch:
        options = {"low": 1e-3, "high": 0.2, "steps": 24, "seeds": 1}
        patch.setattr(lr_range.sweep, "__kwdefaults__", options)
        listener = Notes()
        asked = replace(request(tmp_path_factory.mktemp("runs"), **AUTO), find_lr=True)
        fit = start.prepare(asked, listener)
    fit.train(Listener())
    return fit, listener.notes


def test_training_after_a_sweep_equals_training_without(swept: tuple[Fit, list[str]], tmp_path: Path) -> None:
    fit, _ = swept
    plain = start.prepare(request(tmp_path, **AUTO, max_lr=fit.setup.recipe.max_lr), Listener())
    plain.train(Listener())
    assert_equal_runs(fit.run.path, plain.run.path)
    assert plain.run.read().as_dict()["lr_find"] is None
    assert plain.sweep is plain.plan().sweep is None


def test_run_json_records_the_sweep(swept: tuple[Fit, list[str]]) -> None:
    fit, notes = swept
    document, sweep = json.loads(fit.run.document_file.read_text()), fit.sweep
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
    assert any(f"--max-lr auto chose {chosen['lr']:.3g}" in note and sweep.reason in note for note in notes)


def test_a_resumed_run_does_not_sweep_again(
    swept: tuple[Fit, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, _ = swept
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


def test_a_given_rate_is_not_resumed_with_auto(swept: tuple[Fit, list[str]], tmp_path: Path) -> None:
    run = Run(shutil.copytree(swept[0].run.path, tmp_path / "copy"))
    run.update(status="interrupted", lr_find=None)
    asked = replace(request(tmp_path, source=None), given={}, find_lr=True)
    with pytest.raises(UsageError, match=f"--max-lr auto differs from the {swept[0].setup.recipe.max_lr} of"):
        start.resume(run, asked, Listener())


def test_a_sweep_without_a_suggestion_makes_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"low": 1e-3, "high": 0.2, "steps": 3, "seeds": 1}
    monkeypatch.setattr(lr_range.sweep, "__kwdefaults__", options)
    with pytest.raises(
        EraError, match=r"found no learning rate \(3 valid steps are too few.*\): give --max-lr a number"
    ):
        start.prepare(replace(request(tmp_path / "runs", **AUTO), find_lr=True), Listener())
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("find_lr", [True, False])
def test_the_batch_note_names_no_unused_rate(find_lr: bool, tmp_path: Path) -> None:
    given = {**SMALL, "limit_train": 500}
    asked = replace(request(tmp_path), recipe=with_options(default(), given), given=given, find_lr=find_lr)
    (note,) = setup.Setup.of(asked, Listener()).notes
    assert "using 32" in note
    assert ("with a peak learning rate of" in note) is not find_lr
