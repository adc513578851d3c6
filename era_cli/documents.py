"""Results as JSON documents. Loads no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from era_cli.results import (
    ClassComparison,
    Comparison,
    Curves,
    EpochRow,
    Faithfulness,
    Flips,
    Heatmaps,
    LrSweep,
    Metrics,
    Mistakes,
    Report,
    RunDetails,
    RunSummary,
    SeedResults,
    Side,
    Slimmed,
    Verification,
)

MOST_PAIRS = 100  # the confusion matrix has all of them


def sweep(sweep: LrSweep) -> dict[str, Any]:
    """A whole sweep: its summary, every rate, every loss (null after a stop) and the smoothed mean."""
    return {
        **dataclasses.asdict(sweep.summary),
        "rates": sweep.rates.tolist(),
        "losses": [_numbers(losses.tolist()) for losses in sweep.losses],
        "smoothed": _numbers(sweep.smoothed.tolist()),
    }


def seeds(seeds: SeedResults) -> dict[str, Any]:
    """Mean and sample standard deviation of the test accuracy over the seeds, and how each of their runs ended."""
    return {
        "result": {"test_acc": seeds.mean, "test_acc_std": seeds.deviation},
        "runs": [
            {"run": str(run), "seed": seed, "result": dataclasses.asdict(result)}
            for run, seed, result in zip(seeds.runs, seeds.seeds, seeds.results, strict=True)
        ],
    }


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
            "confidence": _numbers(calibration.confidence.tolist()),
            "acc": _numbers(calibration.accuracy.tolist()),
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


def heatmaps(heatmaps: Heatmaps) -> dict[str, Any]:
    """How the maps were computed, their faithfulness, and for each image its probabilities and its maps' peaks."""
    faithfulness, classes = heatmaps.faithfulness, heatmaps.classes
    predicted, empty = heatmaps.predicted, heatmaps.empty
    return {
        "method": heatmaps.method,
        "layer": heatmaps.layer,
        "smooth": heatmaps.smooth,
        "map_size": list(heatmaps.maps.shape[2:]) if len(heatmaps) else None,
        "scaled_to": "the maximum of each map",
        "faithfulness": None if faithfulness is None else _faithfulness(faithfulness),
        "count": len(heatmaps),
        "images": [
            {
                "index": None if heatmaps.index is None else int(heatmaps.index[row]),
                "file": None if heatmaps.files is None else heatmaps.files[row],
                "true": None if heatmaps.labels is None else classes[heatmaps.labels[row]],
                "predicted": classes[predicted[row]],
                "probabilities": dict(zip(classes, heatmaps.probabilities[row].tolist(), strict=True)),
                "maps": _maps(heatmaps, row, empty[row]),
            }
            for row in range(len(heatmaps))
        ],
    }


def _faithfulness(faithfulness: Faithfulness) -> dict[str, Any]:
    """A loss of probability is positive, in fractions of 1."""
    lost = {"hottest": faithfulness.hottest, "random": faithfulness.random, "moved": faithfulness.moved}
    return {"count": faithfulness.count, "pixels_replaced": faithfulness.share, "probability_lost": lost}


def _maps(heatmaps: Heatmaps, row: int, empty: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The maps of one image."""
    maps, size = heatmaps.maps[row], heatmaps.images.shape[1:3]
    return [
        {
            "of": role,
            "class": heatmaps.classes[heatmaps.targets[row, column]],
            "empty": bool(empty[column]),
            "maximum": None if empty[column] else float(maps[column].max()),
            "peak": None if empty[column] else _peak(maps[column], size),
        }
        for column, role in enumerate(heatmaps.roles)
    ]


def _peak(heat: npt.NDArray[np.float32], size: tuple[int, ...]) -> list[float]:
    """x and y of the centre of the hottest cell, in pixels from the upper left of an image of `size` (H, W)."""
    y, x = divmod(int(heat.argmax()), heat.shape[1])
    return [(x + 0.5) * size[1] / heat.shape[1], (y + 0.5) * size[0] / heat.shape[0]]


def verification(verification: Verification) -> dict[str, Any]:
    """The verdict, what was replayed, what is another now, and every check."""
    return {
        "status": verification.status,
        "reproduced": verification.reproduced,
        "difference": verification.difference,
        "first_step": verification.first_step,
        "last_step": verification.last_step,
        "changes": list(verification.changes),
        "cause": verification.cause,
        "checks": [
            {
                "name": check.name,
                "status": check.status,
                "detail": check.detail,
                "difference": _numbers([check.difference])[0],
            }
            for check in verification.checks
        ],
    }


def comparison(comparison: Comparison) -> dict[str, Any]:
    """Both sides, their difference overall and by class, every image that flips, and what may be claimed."""
    paired, difference = comparison.paired, comparison.difference
    return {
        "count": comparison.count,
        "a": _side(comparison.a),
        "b": _side(comparison.b),
        "difference": difference.value,
        "difference_interval_95": None if difference.interval is None else list(difference.interval),
        "p_value": difference.p_value,
        "method": "welch" if paired is None else "newcombe",
        "paired": None if paired is None else dataclasses.asdict(paired),
        "per_class": [_class_comparison(each) for each in comparison.per_class],
        "lost": len(comparison.lost),
        "gained": len(comparison.gained),
        "flips": [dict(zip(FLIP_COLUMNS, row, strict=True)) for row in flip_rows(comparison)],
        "settings": [{"name": each.name, "a": list(each.a), "b": list(each.b)} for each in comparison.settings],
        "better": comparison.better,
        "claim": comparison.claim,
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "acc": side.mean,
        "acc_std": side.deviation,
        "runs": [
            {
                "run": str(run.path),
                "seed": run.seed,
                "checkpoint": run.checkpoint,
                "epochs": run.epochs,
                "correct": run.correct,
                "acc": run.accuracy,
                "acc_interval_95": list(run.interval),
            }
            for run in side.runs
        ],
    }


def _class_comparison(each: ClassComparison) -> dict[str, Any]:
    fields = dataclasses.asdict(each)
    return {"class": fields.pop("name"), **fields}


_OF_SIDE = ("predicted", "probability", "true_probability", "right")
FLIP_COLUMNS = ("index", "file", "flip", "true", *(f"{side}_{name}" for side in "ab" for name in _OF_SIDE), "change")


def flip_rows(comparison: Comparison) -> Iterator[tuple[Any, ...]]:
    """A row of these columns for each image that flips; the file is None where images have no file names."""
    for name, flips in (("lost", comparison.lost), ("gained", comparison.gained)):
        for row in range(len(flips)):
            yield (
                int(flips.index[row]),
                None if flips.files is None else flips.files[row],
                name,
                comparison.classes[flips.labels[row]],
                *_flip_cells(flips, row, comparison.classes),
                float(flips.change[row]),
            )


def _flip_cells(flips: Flips, row: int, classes: tuple[str, ...]) -> Iterator[Any]:
    for side in "ab":
        predicted, *others = (getattr(flips, f"{side}_{name}")[row] for name in _OF_SIDE)
        yield classes[predicted]
        yield from map(float, others)


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
        "test_count": curves.test_count,
        "test_total": curves.test_total,
        "metrics": [_row(row) for row in curves.epochs],
        "left_out": list(curves.left_out),
    }


def run(run: RunSummary) -> dict[str, Any]:
    """A run at a glance."""
    return {
        "run": str(run.path),
        "name": run.name,
        "status": run.status,
        "started": run.started or None,
        "source": run.source,
        "recipe_name": run.recipe,
        "recipe_changes": None if run.changes is None else dict(run.changes),
        "epochs_done": run.epochs,
        "planned_epochs": run.planned_epochs,
        "val_acc": run.val_acc,
        "test_acc": run.test_acc,
        "seconds": run.seconds,
        "bytes": run.size,
        "problem": run.problem,
    }


def run_details(details: RunDetails) -> dict[str, Any]:
    """What is not in run.json: its status as it is, how far the run came, and every file."""
    known = run(details.summary)
    names = ("run", "status", "recipe_changes", "epochs_done", "seconds", "bytes", "problem")
    return {
        **{name: known[name] for name in names},
        "contents": [{"path": file.path, "title": file.title, "bytes": file.size} for file in details.files],
    }


def report(report: Report) -> dict[str, Any]:
    """What a page holds: its metrics, how many images of each group with heat maps of which kind, and the notes."""
    heatmaps = report.gallery.heatmaps
    return {
        "acc": report.metrics.accuracy,
        "acc_interval_95": list(report.metrics.interval),
        "count": report.metrics.count,
        "epochs_drawn": len(report.curves.epochs),
        "samples": report.samples is not None,
        "images": len(heatmaps),
        "groups": [
            {
                "name": group.name,
                "title": group.title,
                "images": len(group.rows),
                "total": group.total,
                "note": group.note,
            }
            for group in report.gallery.groups
        ],
        "heatmaps": {
            "method": heatmaps.method,
            "layer": heatmaps.layer,
            "map_size": list(heatmaps.maps.shape[2:]),
        },
        "notes": list(report.notes),
        "claim": None if report.comparison is None else report.comparison.claim,
    }


def slimmed(slimmed: Slimmed) -> dict[str, Any]:
    """What was removed, the bytes that are left, and how many there were more."""
    return {"removed": list(slimmed.removed), "freed_bytes": slimmed.freed, "bytes": slimmed.left}


def _row(row: EpochRow) -> dict[str, Any]:
    cells = dataclasses.asdict(row)
    return dict(zip(cells, _numbers(list(cells.values())), strict=True))


def _numbers(values: list[float | None]) -> list[float | None]:
    """JSON has no NaN."""
    return [None if value is None or not math.isfinite(value) else value for value in values]
