"""How well a network predicts, and its mistakes, as JSON documents and rows of a table. Loads no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from era_cli.documents.numbers import numbers
from era_cli.results import Metrics, Mistakes

MOST_PAIRS = 100  # the confusion matrix has all of them


def metrics(metrics: Metrics) -> dict[str, Any]:
    """All metrics, with the confusion counts (rows are true classes) and the most confused pairs."""
    calibration = metrics.calibration
    return {
        "count": metrics.count,
        "correct": metrics.correct,
        "acc": metrics.accuracy,
        "acc_interval_95": list(metrics.interval),
        "loss": metrics.loss,
        "top5_acc": metrics.top5,
        "macro_f1": metrics.macro_f1,
        "expected_calibration_error": calibration.error,
        "calibration": {
            "counts": calibration.counts.tolist(),
            "confidence": numbers(calibration.confidence.tolist()),
            "acc": numbers(calibration.accuracy.tolist()),
            "gap": calibration.gap,
            "direction": calibration.direction,
        },
        "per_class": [
            {
                "class": score.name,
                "precision": score.precision,
                "recall": score.recall,
                "f1": score.f1,
                "support": score.support,
            }
            for score in metrics.per_class
        ],
        "classes": [score.name for score in metrics.per_class],
        "confusion": metrics.confusion.tolist(),
        "confused_pairs": [dataclasses.asdict(pair) for pair in metrics.pairs[:MOST_PAIRS]],
    }


def fingerprint(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What predictions were computed from; the cached ones keep shorter names."""
    names = {"checkpoint": "checkpoint_sha256", "images": "content_hash", "indices": "indices_sha256"}
    return {names.get(name, name): value for name, value in fingerprint.items()}


def mistakes(mistakes: Mistakes) -> dict[str, Any]:
    """How many there are, which of them these are, their most frequent pairs of classes, and a row for each."""
    columns = mistake_columns(mistakes)
    return {
        "suspects": mistakes.suspects,
        "evaluated": mistakes.evaluated,
        "acc": mistakes.accuracy,
        "total": mistakes.total,
        "expected_with_right_labels": mistakes.expected,
        "share": mistakes.total / mistakes.evaluated,
        "true": mistakes.true,
        "predicted": mistakes.predicted,
        "count": len(mistakes),
        "order": mistakes.order,
        "pairs": [dataclasses.asdict(pair) for pair in mistakes.pairs[:MOST_PAIRS]],
        "images": [dict(zip(columns, row, strict=True)) for row in mistake_rows(mistakes)],
    }


def mistake_columns(mistakes: Mistakes) -> tuple[str, ...]:
    """The columns of the table."""
    names = ("label", "suggested") if mistakes.suspects else ("true", "predicted")
    return ("index", "file", *names, "confidence", "true_probability", "loss", "margin")


def mistake_rows(mistakes: Mistakes) -> Iterator[tuple[Any, ...]]:
    """A row of these columns for each, in their order; the file is None where images have no file names."""
    for row in range(len(mistakes)):
        yield (
            int(mistakes.index[row]),
            None if mistakes.files is None else mistakes.files[row],
            mistakes.classes[mistakes.labels[row]],
            mistakes.classes[mistakes.answers[row]],
            *(
                float(values[row])
                for values in (mistakes.confidence, mistakes.true_probability, mistakes.loss, mistakes.margin)
            ),
        )
