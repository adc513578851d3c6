"""Results as JSON documents. Loads no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from era_cli.results import Curves, EpochRow, Faithfulness, Heatmaps, LrSweep, Metrics, Mistakes, SeedResults

SCHEMA = 1
MOST_PAIRS = 100  # the confusion counts have them all


def sweep_summary(sweep: LrSweep) -> dict[str, Any]:
    """What a sweep suggests, and over which rates it went."""
    recommended = sweep.recommended
    return {
        "recommended": None if recommended is None else {"rule": recommended.rule, "lr": recommended.lr},
        "suggestions": [dataclasses.asdict(suggestion) for suggestion in sweep.suggestions],
        "reason": sweep.reason if recommended is not None else sweep.verdict,
        "min_lr": float(sweep.rates[0]),
        "max_lr": float(sweep.rates[-1]),
        "steps": len(sweep.rates),
        "seeds": list(sweep.seeds),
        "stops": list(sweep.stops),
    }


def sweep(sweep: LrSweep) -> dict[str, Any]:
    """A whole sweep: its summary, every rate, every loss (null after a stop) and the smoothed mean."""
    return {
        **sweep_summary(sweep),
        "rates": sweep.rates.tolist(),
        "losses": [_numbers(losses.tolist()) for losses in sweep.losses],
        "smoothed": _numbers(sweep.smoothed.tolist()),
    }


def seeds(found: SeedResults) -> dict[str, Any]:
    """Mean and sample standard deviation of the test accuracy over the seeds, and how each of their runs ended."""
    return {
        "result": {"test_acc": found.mean, "test_acc_deviation": found.deviation},
        "runs": [
            {"run": str(run), "seed": seed, "result": dataclasses.asdict(result)}
            for run, seed, result in zip(found.runs, found.seeds, found.results, strict=True)
        ],
    }


def metrics(metrics: Metrics) -> dict[str, Any]:
    """Every figure of an evaluation, with the confusion counts (rows are true classes) and the pairs most confused."""
    calibration = metrics.calibration
    return {
        "count": metrics.count,
        "correct": metrics.correct,
        "accuracy": metrics.accuracy,
        "accuracy_interval_95": list(metrics.interval),
        "loss": metrics.loss,
        "top5_accuracy": metrics.top5,
        "macro_f1": metrics.macro_f1,
        "expected_calibration_error": calibration.error,
        "calibration": {
            "counts": calibration.counts.tolist(),
            "confidence": _numbers(calibration.confidence.tolist()),
            "accuracy": _numbers(calibration.accuracy.tolist()),
        },
        "per_class": [dataclasses.asdict(score) for score in metrics.per_class],
        "classes": [score.name for score in metrics.per_class],
        "confusion": metrics.confusion.tolist(),
        "confused_pairs": [dataclasses.asdict(pair) for pair in metrics.pairs[:MOST_PAIRS]],
    }


def mistakes(found: Mistakes) -> dict[str, Any]:
    """How many there are, which of them these are, the pairs of classes most frequent among them, and every one."""
    columns = mistake_columns(found)
    return {
        "suspects": found.suspects,
        "judged": found.judged,
        "total": found.total,
        "share": found.total / found.judged,
        "true": found.true,
        "predicted": found.predicted,
        "count": len(found),
        "order": found.order,
        "pairs": [dataclasses.asdict(pair) for pair in found.pairs[:MOST_PAIRS]],
        "images": [dict(zip(columns, row, strict=True)) for row in mistake_rows(found)],
    }


def mistake_columns(found: Mistakes) -> tuple[str, ...]:
    """What is known of each."""
    names = ("label", "suggested") if found.suspects else ("true", "predicted")
    return ("index", "file", *names, "confidence", "true_probability", "loss", "margin")


def mistake_rows(found: Mistakes) -> Iterator[tuple[Any, ...]]:
    """A row of these columns for each, in their order; the file is None where images have no names."""
    for row in range(len(found)):
        yield (
            int(found.index[row]),
            None if found.files is None else found.files[row],
            found.classes[found.labels[row]],
            found.classes[found.answers[row]],
            *(float(values[row]) for values in (found.confidence, found.true_probability, found.loss, found.margin)),
        )


def heatmaps(found: Heatmaps) -> dict[str, Any]:
    """How the maps were made, what they are worth, and of each image what the network says and its maps say."""
    empty = found.empty
    return {
        "method": found.method,
        "layer": found.layer,
        "smooth": found.smooth,
        "map_size": list(found.maps.shape[2:]) if len(found) else None,
        "scaled_to": "the maximum of each map",
        "faithfulness": None if found.faithfulness is None else _faithfulness(found.faithfulness),
        "count": len(found),
        "images": [
            {
                "index": None if found.index is None else int(found.index[row]),
                "file": None if found.files is None else found.files[row],
                "true": None if found.labels is None else found.classes[found.labels[row]],
                "predicted": found.classes[found.predicted[row]],
                "probabilities": dict(zip(found.classes, found.probabilities[row].tolist(), strict=True)),
                "maps": [
                    {
                        "of": role,
                        "class": found.classes[found.targets[row, column]],
                        "empty": bool(empty[row, column]),
                        "maximum": None if empty[row, column] else float(found.maps[row, column].max()),
                        "peak": None if empty[row, column] else _peak(found, row, column),
                    }
                    for column, role in enumerate(found.roles)
                ],
            }
            for row in range(len(found))
        ],
    }


def _faithfulness(worth: Faithfulness) -> dict[str, Any]:
    """What is lost is positive, in fractions of 1."""
    lost = {"hottest": worth.hottest, "random": worth.random, "moved": worth.moved}
    return {"count": worth.count, "pixels_replaced": worth.share, "probability_lost": lost}


def _peak(found: Heatmaps, row: int, column: int) -> list[float]:
    """Where the map is hottest: x and y of the middle of its cell, in pixels of the image from the upper left."""
    values = found.maps[row, column]
    y, x = divmod(int(values.argmax()), values.shape[1])
    return [(x + 0.5) * found.images.shape[2] / values.shape[1], (y + 0.5) * found.images.shape[1] / values.shape[0]]


def curves(curves: Curves) -> dict[str, Any]:
    """A run's epochs, the best of them, and what was left out; the rates stay in steps.csv."""
    return {
        "name": curves.name,
        "status": curves.status,
        "planned_epochs": curves.planned_epochs,
        "steps_per_epoch": curves.steps_per_epoch,
        "steps": len(curves.rates),
        "best": None if curves.best is None else _row(curves.best),
        "test_acc": curves.test_acc,
        "epochs": [_row(row) for row in curves.epochs],
        "left_out": list(curves.left_out),
    }


def _row(row: EpochRow) -> dict[str, Any]:
    cells = dataclasses.asdict(row)
    return dict(zip(cells, _numbers(list(cells.values())), strict=True))


def _numbers(values: list[float | None]) -> list[float | None]:
    """JSON has no NaN."""
    return [None if value is None or not math.isfinite(value) else value for value in values]
