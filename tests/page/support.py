"""What several tests of the page share: a report of images and predictions that are made up."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from era_cli.choices import CamMethod, Smoothing
from era_cli.core.compare.compare import compare
from era_cli.core.evaluation import metrics
from era_cli.core.report.select import select
from era_cli.page import page, sheets
from era_cli.page.sheets import Sheets
from era_cli.recipes import default
from era_cli.results import (
    Comparison,
    Evaluation,
    Faithfulness,
    Gallery,
    Heatmaps,
    Images,
    LayerRow,
    Report,
    RunDetails,
    RunFile,
    RunSummary,
)
from tests.core.compare.support import evaluated
from tests.reports.support import pictures
from tests.reports.support import run as curves

CLASSES = ("cat", "dog", "frog")
HOSTILE = ("</script><script>window.pwned=1</script>", '"><img src=x onerror="window.pwned=1">', "{{ 7*7 }}")


def evaluation(count: int, classes: tuple[str, ...] = CLASSES, accuracy: float = 0.7, seed: int = 0) -> Evaluation:
    """Predictions of which about this fraction is right."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, len(classes), count)
    logits = draw.normal(size=(count, len(classes))).astype(np.float32)
    right = draw.random(count) < accuracy
    favoured = np.where(right, labels, draw.integers(0, len(classes), count))
    logits[np.arange(count), favoured] += 4
    return Evaluation(index=np.arange(count) + 100, labels=labels, logits=logits, classes=classes)


def compared(judged: Evaluation, seed: int = 7) -> Comparison:
    """The run with these predictions of three classes, as B, compared with another, A, called base."""
    other = evaluation(len(judged.labels), judged.classes, seed=seed)
    sides = (("base", other.predicted), ("photos-1", judged.predicted))
    a, b = (
        evaluated(name, judged.labels.tolist(), predicted.tolist(), data={"classes": judged.classes})
        for name, predicted in sides
    )
    return compare([a], [b])


def report(evaluation: Evaluation, images: Images, room: int = 10**7, **changes: Any) -> tuple[Report, Sheets]:
    """The report of a run with these predictions on `images` (N, H, H, 3), and those it has room for."""
    selection = select(evaluation, comparison=changes.get("comparison"))
    encoded = sheets.encode(images[selection.places].__getitem__, len(selection.places), room)
    selection = selection.first(encoded.count)
    labels, probabilities = evaluation.labels[selection.places], evaluation.probabilities[selection.places]
    targets = np.stack([probabilities.argmax(axis=1), labels], axis=1)
    heatmaps = Heatmaps(
        method=CamMethod.GRADCAM,
        layer="layer3",
        smooth=Smoothing.NONE,
        classes=evaluation.classes,
        images=images[selection.places],
        index=evaluation.index[selection.places],
        files=None,
        labels=labels,
        probabilities=probabilities,
        roles=("predicted", "true"),
        targets=targets,
        maps=np.random.default_rng(1).normal(size=(len(labels), 2, 4, 4)).astype(np.float32),
        faithfulness=Faithfulness(count=100, share=0.25, hottest=0.31, random=0.05, moved=0.1),
    )
    summary = RunSummary(
        path=Path("runs/photos-1"), status="finished", started="2026-01-01", size=10**6, changes={"epochs": 3}
    )
    recipe = dataclasses.replace(default(), epochs=3)
    whole = Report(
        about="photos-1, test images",
        lead="Network resnet with 6,573,130 parameters.",
        evaluated="test images",
        facts=(("run", "runs/photos-1"), ("status", "finished")),
        command="era fit --epochs 3",
        notes=(),
        details=RunDetails(
            summary=summary, recipe=recipe, usual=default(), files=(RunFile(path="run.json", title="Run", size=3_000),)
        ),
        curves=curves(3, test_acc=0.7, test_count=len(evaluation.labels), test_total=len(evaluation.labels)),
        metrics=metrics.measure(evaluation),
        gallery=Gallery.of(selection, evaluation, heatmaps),
        layers=(
            LayerRow(
                name="prep", kind="ConvBlock", output_shape=(64, 8, 8), kernel="", parameters=1_856, multiply_adds=9
            ),
        ),
        samples=None,
    )
    return dataclasses.replace(whole, **changes), encoded


def written(count: int = 300, classes: tuple[str, ...] = CLASSES, side: int = 8, **changes: Any) -> str:
    """The page of such a report."""
    return page.render(*report(evaluation(count, classes), pictures(count, side), **changes))
