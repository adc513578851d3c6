"""On the same machine nothing may differ, on another what rounding explains; the first difference is named."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from era_cli.core.verify import cause, checks
from era_cli.core.verify.rounding import DRIFT, EPSILON, Rounding
from era_cli.results import Check, Evaluation, FitResult, StepRow
from tests.support import epoch_row

HERE, ELSEWHERE = Rounding(True, "fp32"), Rounding(False, "fp32")


def steps(*losses: float, lr: float = 0.1) -> list[StepRow]:
    return [StepRow(step=place, lr=lr, loss=loss) for place, loss in enumerate(losses, start=11)]


@pytest.mark.parametrize(
    ("replayed", "here", "elsewhere"),
    [
        (steps(2.0, 1.0), "identical", "identical"),
        (steps(2.0, 1.0 + 1e-6), "differs", "within"),
        (steps(2.0 + 1e-6, 1.0), "differs", "within"),
        (steps(2.0 * (1 + 2 * EPSILON["fp32"]), 1.0), "differs", "differs"),  # one step rounds less
        (steps(2.0, 1.0 + DRIFT / 2), "differs", "within"),
        (steps(2.0, 1.0 + DRIFT * 2), "differs", "differs"),
        (steps(2.0, float("nan")), "differs", "differs"),
        (steps(2.0, 1.0, lr=0.1000001), "differs", "differs"),  # rates are not rounded so much
        (steps(2.0, 1.0, 3.0), "differs", "differs"),  # a row is missing
    ],
)
def test_losses_may_differ_by_rounding_on_another_machine(replayed: list[StepRow], here: str, elsewhere: str) -> None:
    recorded = steps(2.0, 1.0)
    assert checks.check_steps(recorded, replayed, HERE, drift=True).status == here
    assert checks.check_steps(recorded, replayed, ELSEWHERE, drift=True).status == elsewhere


def test_the_first_different_step_and_epoch_are_named() -> None:
    found = checks.check_steps(steps(2.0, 1.0, 1.0), steps(2.0, 1.5, 9.0), HERE, drift=True)
    assert found.detail == "step 12: loss 1.0 in steps.csv, 1.5 replayed"
    one, other = [epoch_row(3)], [epoch_row(3, val_acc=None, seconds=7.0, images_per_second=1.0)]
    found = checks.check_epochs(one, other, HERE, drift=True)
    assert found.detail == "epoch 3: val_acc 0.5 in metrics.csv, nothing replayed"
    timeless = [epoch_row(3, seconds=7.0, images_per_second=1.0)]
    assert checks.check_epochs(one, timeless, HERE, drift=True).status == "identical"


def test_a_long_replay_elsewhere_is_judged_by_its_first_loss() -> None:
    far = steps(2.0, 1.5)
    assert checks.check_steps(steps(2.0, 1.0), far, ELSEWHERE, drift=False).status == "within"
    assert checks.check_steps(steps(2.1, 1.0), far, ELSEWHERE, drift=False).status == "differs"


@pytest.mark.parametrize(("change", "elsewhere"), [(1e-3, "within"), (0.5, "differs")])
def test_weights_may_drift_on_another_machine(change: float, elsewhere: str) -> None:
    one, other = (
        {"global_step": 15, "state_dict": {"network.w": torch.tensor([1.0, value])}} for value in (1.0, 1.0 + change)
    )
    assert checks.check_weights("weights", one, one, HERE, drift=True).status == "identical"
    assert checks.check_weights("weights", one, other, ELSEWHERE, drift=True).status == elsewhere
    found = checks.check_weights("weights", one, other, HERE, drift=True)
    assert found.status == "differs"
    assert found.difference == pytest.approx(change / 2**0.5, rel=1e-3)
    assert "network.w: 1 of 2 numbers differs" in found.detail


def evaluated(*correct: bool) -> Evaluation:
    logits = np.array([[3.0, 0.0] if right else [0.0, 3.0] for right in correct], np.float32)
    return Evaluation(index=np.arange(4), labels=np.zeros(4, np.int64), logits=logits, classes=("a", "b"))


def result(evaluation: Evaluation) -> FitResult:
    return FitResult(
        best_epoch=1,
        val_acc=None,
        val_loss=None,
        test_acc=evaluation.accuracy,
        test_loss=evaluation.loss,
        test_correct=evaluation.correct,
        test_count=4,
        test_total=4,
        seconds=1.0,
    )


def test_a_result_is_the_one_computed_anew() -> None:
    computed = evaluated(True, True, True, False)
    told = result(computed)
    assert checks.check_test(told, computed, HERE).status == "identical"
    found = checks.check_test(dataclasses.replace(told, test_acc=0.8), computed, HERE)
    assert (found.status, found.detail) == ("differs", "test_acc 0.8 in run.json, 0.75 recomputed")
    close = dataclasses.replace(told, test_loss=computed.loss * (1 + 1e-5))
    assert checks.check_test(close, computed, HERE).status == "differs"
    assert checks.check_test(close, computed, ELSEWHERE).status == "within"


def test_stored_predictions_are_the_ones_computed_anew() -> None:
    computed = evaluated(True, True, True, False)
    logits = computed.logits.copy()
    logits[2] += 1e-5
    altered = dataclasses.replace(computed, logits=logits)
    assert checks.check_predictions(computed, computed, HERE).status == "identical"
    found = checks.check_predictions(altered, computed, HERE)
    assert (found.status, found.detail) == ("differs", "logits of 1 image, the first being image 2")
    assert checks.check_predictions(altered, computed, ELSEWHERE).status == "within"


@pytest.mark.parametrize(
    ("statuses", "more", "likely"),
    [
        ({"steps": "differs", "weights": "identical"}, {}, "an edited csv file"),
        ({"steps": "differs", "weights": "skipped", "rows": "differs"}, {}, "an edited csv file"),
        (
            {"steps": "identical", "epochs": "differs", "weights": "skipped", "rows": "differs"},
            {},
            "an edited csv file",
        ),
        ({"steps": "identical", "epochs": "differs", "weights": "skipped"}, {}, "an edited csv file"),
        ({"steps": "differs", "weights": "differs"}, {}, "a number of threads other than the 2"),
        ({"steps": "differs", "weights": "skipped"}, {}, "a number of threads other than the 2"),
        (
            {"steps": "differs", "weights": "skipped"},
            {"origin": None},
            "a number of threads other than the 2 recorded, or a",
        ),
        ({"steps": "differs", "weights": "differs"}, {"sudden": True}, "previous.ckpt, a csv file or the recipe"),
        ({"steps": "differs", "weights": "differs"}, {"sudden": True, "origin": None}, "a csv file or the recipe"),
        ({"steps": "differs", "weights": "differs"}, {"changes": ["another torch"]}, "another torch; rounding grows"),
        ({"steps": "identical", "weights": "differs"}, {}, "last.ckpt was changed"),
        ({"steps": "identical", "weights": "differs"}, {"changes": ["another torch"]}, "last.ckpt was changed"),
        ({"steps": "identical", "epochs": "differs", "weights": "differs"}, {}, "last.ckpt was changed"),
        ({"steps": "identical", "weights": "identical", "best": "differs"}, {}, "best.ckpt was changed"),
        ({"steps": "identical", "weights": "identical", "validation": "differs"}, {}, "best.ckpt or metrics.csv"),
        ({"steps": "identical", "test": "differs"}, {}, "run.json or best.ckpt was changed"),
        ({"steps": "within", "test": "differs"}, {"changes": ["another torch"]}, "run.json or best.ckpt was changed"),
        ({"steps": "identical", "predictions": "differs"}, {}, "predictions-test.npz or best.ckpt"),
        ({"images": "differs"}, {}, "changed images"),
        ({"counts": "differs", "checkpoints": "differs"}, {}, "an edited run.json"),
        ({"checkpoints": "differs", "steps": "differs"}, {}, "a damaged or changed checkpoint"),
    ],
)
def test_the_likely_cause_follows_from_what_differs_first(
    statuses: dict[str, Any], more: dict[str, Any], likely: str
) -> None:
    results = [Check(name=name, status=status, detail="") for name, status in statuses.items()]
    asked = {"changes": [], "sudden": False, "origin": "previous.ckpt", **more}
    clause = cause.likely(results, threads=2, exact=not asked["changes"], **asked)
    assert clause is not None
    assert clause.startswith(likely)
    assert ("previous.ckpt" in clause) <= (asked["origin"] is not None)


def test_the_distance_of_accuracies_is_not_called_relative() -> None:
    one, other = [epoch_row(3, val_acc=0.5)], [epoch_row(3, val_acc=0.25)]
    detail = checks.check_epochs(one, other, ELSEWHERE, drift=True).detail
    assert detail.endswith("val_acc 0.5 in metrics.csv, 0.25 replayed, difference 0.25")


def test_a_single_step_is_not_a_range() -> None:
    assert checks.check_steps(steps(2.0), steps(2.0), HERE, drift=True).detail == (
        "losses and learning rates of step 11"
    )


def test_a_validation_is_the_one_computed_anew() -> None:
    row = epoch_row(3, val_acc=0.5, val_loss=1.0)
    assert checks.check_validation(row, 1.0, 20, 40, HERE).status == "identical"
    assert checks.check_validation(row, 1.0, 21, 40, HERE).status == "differs"
    assert checks.check_validation(row, 1.0, 21, 40, ELSEWHERE).status == "within"  # an image between two classes
    assert checks.check_validation(row, 1.0, 22, 40, ELSEWHERE).status == "differs"
    assert checks.check_validation(row, 1.0 + 2 * EPSILON["fp32"], 20, 40, ELSEWHERE).status == "differs"


def test_a_repeated_run_is_within_the_interval_of_the_recorded_one() -> None:
    told = dataclasses.replace(result(evaluated(True, True, True, True)), test_acc=0.9, test_correct=90, test_count=100)
    right, wrong = evaluated(True, True, True, True), evaluated(True, False, False, False)
    near = dataclasses.replace(told, test_acc=1.0, test_correct=100)  # 96.3 % to 100 %
    assert checks.check_repeated(near, right, ELSEWHERE).status == "within"
    assert checks.check_repeated(near, right, HERE).status == "differs"
    assert checks.check_repeated(told, wrong, ELSEWHERE).status == "differs"


def test_one_image_between_two_classes_is_rounding() -> None:
    computed = evaluated(True, True, True, False)
    other = dataclasses.replace(result(computed), test_correct=2, test_acc=0.5)
    assert checks.check_test(other, computed, ELSEWHERE).status == "within"
    assert checks.check_test(other, computed, HERE).status == "differs"
    assert checks.check_test(dataclasses.replace(other, test_correct=1), computed, ELSEWHERE).status == "differs"
