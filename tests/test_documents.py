from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from era_cli import documents
from era_cli.choices import CamMethod, Order, Smoothing
from era_cli.core.evaluation import metrics
from era_cli.core.evaluation import mistakes as core_mistakes
from era_cli.results import (
    Check,
    Curves,
    EpochRow,
    Evaluation,
    Faithfulness,
    Heatmaps,
    LrSuggestion,
    LrSweep,
    Verification,
)
from tests.console.support import seeds


def strict(document: Any) -> Any:
    """The document as any JSON reader gets it: NaN and NumPy's numbers are refused on the way."""
    return json.loads(json.dumps(document, allow_nan=False))


def measured() -> Any:
    """Four images: class a right once and once taken for c; b never predicted; d not there at all."""
    logits = np.array([[9, 0, 0, 0], [0, 0, 9, 0], [9, 0, 0, 0], [0, 0, 9, 0]], np.float32)
    return metrics.measure(
        Evaluation(index=np.arange(4), labels=np.array([0, 0, 1, 2]), logits=logits, classes=("a", "b\u001b", "c", "d"))
    )


def test_an_evaluation_is_json_with_null_for_nan() -> None:
    result = measured()
    document = strict(documents.metrics(result))
    assert (document["count"], document["correct"], document["acc"]) == (4, 2, 0.5)
    assert document["acc_interval_95"] == list(result.interval)
    assert (document["loss"], document["macro_f1"]) == (result.loss, result.macro_f1)
    assert document["top5_acc"] is None
    assert document["expected_calibration_error"] == result.calibration.error
    assert document["classes"] == ["a", "b\u001b", "c", "d"]
    assert document["confusion"] == [[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    absent = {"class": "d", "precision": None, "recall": None, "f1": None, "support": 0}
    assert document["per_class"][3] == absent
    assert document["per_class"][0] == {"class": "a", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert document["confused_pairs"] == [
        {"true": "a", "predicted": "c", "count": 1, "share": 0.5},
        {"true": "b\u001b", "predicted": "a", "count": 1, "share": 1.0},
    ]


def test_the_first_hundred_confused_pairs_are_listed() -> None:
    metrics = measured()
    told = documents.metrics(dataclasses.replace(metrics, pairs=metrics.pairs[:1] * 150))
    assert len(told["confused_pairs"]) == 100


def test_empty_calibration_bins_are_null() -> None:
    bins = strict(documents.metrics(measured()))["calibration"]
    assert bins["counts"] == [0] * 14 + [4]
    assert bins["confidence"][:14] == bins["acc"][:14] == [None] * 14
    assert bins["acc"][14] == 0.5
    assert bins["confidence"][14] == pytest.approx(np.exp(9) / (np.exp(9) + 3))


def mistaken(files: tuple[str, ...] | None = None, *, suspects: bool = False) -> Any:
    """Three images: one of a taken for c, one of b taken for c, and one of c that is right."""
    logits = np.array([[1, 0, 2], [0, 1, 3], [0, 0, 4]], np.float32)
    judged = Evaluation(
        index=np.array([5, 7, 9]), labels=np.array([0, 1, 2]), logits=logits, classes=("a", "b\u001b", "c")
    )
    return dataclasses.replace(core_mistakes.wrong(judged, files), suspects=suspects)


def test_mistakes_are_json_with_a_row_for_each() -> None:
    found = core_mistakes.ordered(mistaken(), Order.CONFIDENCE)
    document = strict(documents.mistakes(found))
    assert (document["evaluated"], document["total"], document["count"]) == (3, 2, 2)
    assert document["share"] == pytest.approx(2 / 3)
    assert (document["suspects"], document["order"]) == (False, "confidence")
    assert (document["true"], document["predicted"]) == (None, None)
    assert {(pair["true"], pair["predicted"], pair["count"], pair["share"]) for pair in document["pairs"]} == {
        ("a", "c", 1, 0.5),
        ("b\u001b", "c", 1, 0.5),
    }
    first, second = document["images"]
    total = 1 + np.exp(1) + np.exp(3)
    assert first == {
        "index": 7,
        "file": None,
        "true": "b\u001b",
        "predicted": "c",
        "confidence": pytest.approx(np.exp(3) / total),
        "true_probability": pytest.approx(np.exp(1) / total),
        "loss": pytest.approx(np.log(total) - 1),
        "margin": pytest.approx((np.exp(3) - np.exp(1)) / total),
    }
    assert (second["index"], second["true"], second["predicted"]) == (5, "a", "c")


def test_suspects_are_json_with_a_label_and_a_suggestion() -> None:
    found = core_mistakes.of_classes(mistaken(("x.png", "caf\udce9.png", "z.png"), suspects=True), "b\u001b", "c")
    document = strict(documents.mistakes(found))
    (only,) = document["images"]
    assert (only["label"], only["suggested"], only["file"]) == ("b\u001b", "c", "caf\udce9.png")
    assert not {"true", "predicted"} & set(only)
    assert (document["true"], document["predicted"]) == ("b\u001b", "c")
    assert (document["suspects"], document["total"], document["count"]) == (True, 2, 1)


def test_no_mistakes_are_json_too() -> None:
    right = core_mistakes.wrong(
        Evaluation(
            index=np.arange(2),
            labels=np.zeros(2, np.int64),
            logits=np.eye(2, dtype=np.float32)[[0, 0]],
            classes=("a", "b"),
        )
    )
    document = strict(documents.mistakes(right))
    assert (document["total"], document["share"], document["count"]) == (0, 0.0, 0)
    assert document["pairs"] == document["images"] == []


def test_a_hopeless_label_is_json() -> None:
    """Logits so far apart that the label's probability is 0; and each of 150 images is of a pair of its own."""
    labels = np.arange(150)
    judged = Evaluation(
        index=labels,
        labels=labels,
        logits=np.eye(151, dtype=np.float32)[labels + 1] * 1e4,
        classes=tuple(f"c{place}" for place in range(151)),
    )
    document = strict(documents.mistakes(core_mistakes.wrong(judged)))
    assert document["images"][0]["true_probability"] == 0
    assert document["images"][0]["loss"] == 1e4
    assert len(document["pairs"]) == 100
    assert len(document["images"]) == 150


def test_table_and_document_have_the_same_rows() -> None:
    found = mistaken(("x.png", "y.png", "z.png"))
    columns = documents.mistake_columns(found)
    assert [dict(zip(columns, row, strict=True)) for row in documents.mistake_rows(found)] == documents.mistakes(found)[
        "images"
    ]


def sweep(recommended: LrSuggestion | None) -> LrSweep:
    suggestion = LrSuggestion(rule="steepest", lr=0.1, spread=(0.05, 0.2))
    return LrSweep(
        rates=np.array([0.01, 0.1, 1.0]),
        losses=np.array([[2.0, 1.0, np.nan], [2.5, np.inf, np.nan]]),
        smoothed=np.array([2.25, np.nan, np.nan]),
        seeds=(3, 4),
        stops=("diverged at 1", None),
        suggestions=(suggestion,),
        recommended=recommended,
        reason="it is steepest",
        verdict="the loss never fell",
    )


def test_a_sweep_is_json_with_null_after_a_stop() -> None:
    document = strict(documents.sweep(sweep(LrSuggestion(rule="steepest", lr=0.1, spread=(0.05, 0.2)))))
    assert document["rates"] == [0.01, 0.1, 1.0]
    assert document["losses"] == [[2.0, 1.0, None], [2.5, None, None]]
    assert document["smoothed"] == [2.25, None, None]
    assert (document["min_lr"], document["max_lr"], document["steps"]) == (0.01, 1.0, 3)
    assert (document["seeds"], document["stops"]) == ([3, 4], ["diverged at 1", None])
    assert document["recommended"] == {"rule": "steepest", "lr": 0.1}
    assert document["suggestions"] == [{"rule": "steepest", "lr": 0.1, "spread": [0.05, 0.2]}]
    assert document["reason"] == "it is steepest"


def test_a_sweep_without_recommendation_says_why() -> None:
    document = strict(documents.sweep(sweep(None)))
    assert document["recommended"] is None
    assert document["reason"] == "the loss never fell"


@pytest.mark.parametrize("trained", [True, False])
def test_curves_are_json_without_the_rates(trained: bool) -> None:
    row = EpochRow(
        epoch=1,
        train_loss=2.0,
        train_acc=float("nan"),
        val_loss=None,
        val_acc=None,
        lr=0.1,
        seconds=3.0,
        images_per_second=50.0,
    )
    curves = Curves(
        name="digits-1",
        status="interrupted",
        planned_epochs=3,
        epochs=(row,) if trained else (),
        best=row if trained else None,
        steps=np.arange(1, 6),
        rates=np.linspace(0, 1, 5),
        steps_per_epoch=5,
        test_acc=None,
        test_count=None,
        test_total=None,
        left_out=("metrics.csv, line 3",),
    )
    document = strict(documents.curves(curves))
    assert document["metrics"] == ([document["best"]] if trained else [])
    assert (document["best"] is None) == (not trained)
    if trained:
        cells = ("train_loss", "train_acc", "val_acc")
        assert [document["best"][cell] for cell in cells] == [2.0, None, None]
    assert (document["steps"], document["steps_per_epoch"], document["planned_epochs"]) == (5, 5, 3)
    assert (document["name"], document["status"], document["test_acc"]) == ("digits-1", "interrupted", None)
    assert document["left_out"] == ["metrics.csv, line 3"]
    assert "rates" not in document


def test_seeds_are_json_with_mean_and_deviation() -> None:
    document = strict(documents.seeds(seeds(0.80, 0.90, 0.94)))
    assert document["result"]["test_acc"] == pytest.approx(0.88)
    assert document["result"]["test_acc_std"] == pytest.approx(0.0052**0.5)
    assert [run["seed"] for run in document["runs"]] == [7, 8, 9]
    assert [run["result"]["test_acc"] for run in document["runs"]] == [0.80, 0.90, 0.94]
    assert document["runs"][0]["run"] == "runs/digits-0"
    assert strict(documents.seeds(seeds(0.8)))["result"]["test_acc_std"] is None


# Heat maps


def heatmaps(
    *, own: bool = False, files: tuple[str, ...] | None = None, faithfulness: Faithfulness | None = None
) -> Heatmaps:
    """Two images of 16x32 pixels with maps of 2x4 cells."""
    maps = np.full((2, 2, 2, 4), -1, np.float32)
    maps[0, 0, 1, 2] = 3
    maps[0, 1, 0, 0] = 0.5
    maps[1, 0] = np.nan
    return Heatmaps(
        method=CamMethod.LAYERCAM,
        layer="layer1",
        smooth=Smoothing.AUG,
        classes=("cat", "dog", "frog"),
        images=np.zeros((2, 16, 32, 3), np.uint8),
        index=None if own else np.array([12, 57]),
        files=files,
        labels=None if own else np.array([0, 2]),
        probabilities=np.array([[0.2, 0.7, 0.1], [0.25, 0.25, 0.5]]),
        roles=("predicted", "true"),
        targets=np.array([[1, 0], [2, 2]]),
        maps=maps,
        faithfulness=faithfulness,
    )


def test_each_map_has_its_class_and_peak() -> None:
    document = documents.heatmaps(heatmaps())
    first, second = document["images"]
    # Cells are 8 pixels wide and 8 high: the third of the second row has its middle at (20, 12).
    assert first["maps"] == [
        {"of": "predicted", "class": "dog", "empty": False, "maximum": 3.0, "peak": [20.0, 12.0]},
        {"of": "true", "class": "cat", "empty": False, "maximum": 0.5, "peak": [4.0, 4.0]},
    ]
    assert second["maps"] == [
        {"of": "predicted", "class": "frog", "empty": True, "maximum": None, "peak": None},
        {"of": "true", "class": "frog", "empty": True, "maximum": None, "peak": None},
    ]


def test_each_image_has_its_label_and_probabilities() -> None:
    document = documents.heatmaps(heatmaps())
    known = ["index", "file", "true", "predicted", "probabilities"]
    assert [[image[name] for name in known] for image in document["images"]] == [
        [12, None, "cat", "dog", {"cat": 0.2, "dog": 0.7, "frog": 0.1}],
        [57, None, "frog", "frog", {"cat": 0.25, "dog": 0.25, "frog": 0.5}],
    ]


def test_own_images_have_a_file_and_no_label() -> None:
    images = documents.heatmaps(heatmaps(own=True, files=("a.png", "b.png")))["images"]
    assert [(image["index"], image["file"], image["true"]) for image in images] == [
        (None, "a.png", None),
        (None, "b.png", None),
    ]


def test_heat_maps_name_method_and_faithfulness() -> None:
    faithfulness = Faithfulness(count=1, share=0.25, hottest=0.5, random=0.125, moved=-0.25)
    document = documents.heatmaps(heatmaps(faithfulness=faithfulness))
    assert {name: document[name] for name in ("method", "layer", "smooth", "map_size", "count")} == {
        "method": "layercam",
        "layer": "layer1",
        "smooth": "aug",
        "map_size": [2, 4],
        "count": 2,
    }
    assert document["faithfulness"] == {
        "count": 1,
        "pixels_replaced": 0.25,
        "probability_lost": {"hottest": 0.5, "random": 0.125, "moved": -0.25},
    }
    assert documents.heatmaps(heatmaps())["faithfulness"] is None


@pytest.mark.parametrize("own", [False, True])
def test_heat_maps_are_json_without_nan(own: bool) -> None:
    document = documents.heatmaps(heatmaps(own=own, files=("a", "b")))
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_a_verification_is_json_with_null_for_an_infinite_difference() -> None:
    broken = Check(name="weights", status="differs", detail="a tensor is missing", difference=float("inf"))
    near = Check(name="steps", status="within", detail="losses", difference=0.25)
    document = strict(
        documents.verification(
            Verification(checks=(near, broken), first_step=1, last_step=2, changes=("another torch",), cause="a change")
        )
    )
    assert document["checks"] == [
        {"name": "steps", "status": "within", "detail": "losses", "difference": 0.25},
        {"name": "weights", "status": "differs", "detail": "a tensor is missing", "difference": None},
    ]
    assert {name: document[name] for name in document if name != "checks"} == {
        "status": "differs",
        "reproduced": False,
        "difference": 0.25,
        "first_step": 1,
        "last_step": 2,
        "changes": ["another torch"],
        "cause": "a change",
    }
