"""Results as JSON documents. Loads no torch."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from era_cli.results import Curves, EpochRow, LrSweep, Metrics

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
