from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import accuracy_score, log_loss

from era_cli.choices import CamMethod, Order, Split, Target, Tta, Which
from era_cli.core.evaluation import inference, mistakes, selection, trained_run
from era_cli.core.gradcam import cam, explain
from era_cli.recipes import Recipe
from era_cli.results import Evaluation, FitPlan, FitResult, LayerRow, Samples, SeedResults


def evaluation(labels: npt.ArrayLike, logits: npt.ArrayLike) -> Evaluation:
    table = np.asarray(logits, np.float32)
    classes = tuple(f"class {index}" for index in range(table.shape[1]))
    index = np.arange(len(table))
    return Evaluation(index=index, labels=np.asarray(labels, np.int64), logits=table, classes=classes)


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("scale", [0.01, 1.0, 3.0])  # past 36 nats scikit-learn clips
@pytest.mark.parametrize(("count", "classes"), [(1, 2), (257, 3), (2_001, 10)])
def test_accuracy_and_loss_match_scikit_learn(count: int, classes: int, scale: float) -> None:
    draw = np.random.default_rng(classes)
    logits = (draw.normal(size=(count, classes)) * scale).astype(np.float32)
    labels = draw.integers(0, classes, count)
    evaluated = evaluation(labels, logits)
    assert evaluated.accuracy == accuracy_score(labels, logits.argmax(axis=1))
    assert evaluated.correct == accuracy_score(labels, logits.argmax(axis=1), normalize=False)
    wanted = log_loss(labels, softmax(logits), labels=range(classes))
    assert evaluated.loss == pytest.approx(wanted, rel=1e-9)


def test_huge_logits_do_not_overflow() -> None:
    evaluated = evaluation([0, 1], [[3e38, -3e38], [1e4, 0.0]])
    with np.errstate(all="raise", under="ignore"):
        assert evaluated.loss == pytest.approx((0 + 1e4) / 2)
    assert evaluated.accuracy == 0.5


def test_a_common_offset_changes_nothing() -> None:
    draw = np.random.default_rng(0)
    logits = np.round(draw.normal(size=(50, 5)) * 64) / 64  # exact in float32 after the offset too
    labels = draw.integers(0, 5, 50)
    assert evaluation(labels, logits + 1024).loss == pytest.approx(evaluation(labels, logits).loss, rel=1e-12)


def test_accuracy_counts_images_not_classes() -> None:
    # Three of class 0 right, the one of class 1 wrong: 3/4 of the images, though half of the classes.
    evaluated = evaluation([0, 0, 0, 1], [[1, 0]] * 4)
    assert (evaluated.correct, evaluated.accuracy) == (3, 0.75)


def test_a_plan_sums_over_leaf_layers() -> None:
    def row(name: str, parameters: int, multiply_adds: int) -> LayerRow:
        return LayerRow(
            name=name, kind="", output_shape=(1,), kernel="", parameters=parameters, multiply_adds=multiply_adds
        )

    plan = FitPlan(
        run=Path("run"),
        recipe=Recipe(),
        source="digits",
        classes=("a",),
        class_counts={},
        test_total=0,
        image_size=8,
        layers=(row("block", 7, 70),),
        leaf_layers=(row("block.conv", 5, 50), row("block.norm", 2, 0)),
        device="cpu",
        precision="fp32",
        steps_per_epoch=1,
        steps_done=0,
        rows_done=(),
        samples=Samples(images=np.zeros((0, 8, 8, 3), np.uint8), labels=np.zeros(0, np.int64), classes=("a",)),
        sweep=None,
        notes=(),
    )
    assert (plan.parameters, plan.multiply_adds) == (7, 50)


def test_seeds_give_mean_and_sample_deviation() -> None:
    def results(*accuracies: float) -> SeedResults:
        return SeedResults(
            runs=(Path("run"),) * len(accuracies),
            seeds=tuple(range(len(accuracies))),
            results=tuple(
                FitResult(
                    best_epoch=1,
                    val_acc=None,
                    val_loss=None,
                    test_acc=accuracy,
                    test_loss=1.0,
                    test_correct=1,
                    test_count=1,
                    test_total=1,
                    seconds=1.0,
                )
                for accuracy in accuracies
            ),
        )

    three = results(0.80, 0.90, 0.94)
    assert three.mean == pytest.approx(0.88, rel=1e-12)
    # Squared distances 0.0064, 0.0004 and 0.0036, over K - 1 = 2.
    assert three.deviation == pytest.approx(0.0052**0.5, rel=1e-12)
    assert results(0.8).deviation is None


@pytest.mark.parametrize(
    ("choices", "table"),
    [
        (Split, trained_run.SPLITS),
        (Tta, inference.TTA),
        (Order, mistakes._KEYS),
        (Which, selection.KINDS),
        (CamMethod, cam.METHODS),
        (Target, explain.ROLES),
    ],
)
def test_every_choice_has_an_entry(choices: type[StrEnum], table: dict[str, object]) -> None:
    assert set(choices) == set(table)


def test_every_choice_has_its_wording() -> None:
    assert len({order.text for order in Order}) == len(Order)
    assert len({method.proper_name for method in CamMethod}) == len(CamMethod)
