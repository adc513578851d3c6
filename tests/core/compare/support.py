"""Evaluated runs, made up: who classifies which image correctly is given, so that every count is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from era_cli.core.compare.evaluated import EvaluatedRun
from era_cli.core.data.dataset import Dataset
from era_cli.core.evaluation.predictions import Predictions
from era_cli.core.evaluation.trained_run import Subset
from era_cli.results import Evaluation, Labels
from era_cli.runs.run import Run
from tests.support import RESULT, run_document

CLASSES = ("cat", "dog", "emu")


def dataset(labels: Labels, **changes: Any) -> Dataset:
    """Blank images of these labels, all of them for testing."""
    everything = np.arange(len(labels))
    fields: dict[str, Any] = {
        "name": "animals",
        "source": "animals",
        "classes": CLASSES,
        "images": np.zeros((len(labels), 3, 8, 8), np.uint8),
        "labels": labels,
        "train": everything[:0],
        "test": everything,
        "content_hash": "0" * 64,
    }
    return Dataset(**{**fields, **changes})


def evaluated(
    name: str,
    labels: Sequence[int],
    predicted: Sequence[int],
    *,
    changes: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
) -> EvaluatedRun:
    """A run that predicts these classes, each by a logit of 4; all its logits differ from name to name."""
    true = np.array(labels, np.int64)
    logits = np.zeros((len(true), len(CLASSES)), np.float32)
    logits[np.arange(len(true)), predicted] = 4.0
    logits += np.float32(sum(name.encode())) / 1024  # softmax does not see it
    images = dataset(true, **(data or {}))
    evaluation = Evaluation(index=images.test, labels=true, logits=logits, classes=images.classes)
    return EvaluatedRun(
        run=Run(Path("runs") / name),
        document=run_document(**{"name": name, "status": "finished", "result": RESULT, **(changes or {})}),
        checkpoint="best",
        subset=Subset.of_test(images, images.test),
        predictions=Predictions(
            evaluation=evaluation,
            file=Path("runs") / name / "predictions-test.npz",
            step=10,
            fingerprint={"tta": "none"},
            seconds=None,
        ),
        label="test",
    )
