"""A comparison as a JSON document, and its flips as rows of a table. Loads no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from era_cli.results import ClassComparison, Comparison, Flips, Side


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
