"""How runs were trained, and sweeps, as JSON documents. Loads no torch."""

from __future__ import annotations

import dataclasses
from typing import Any

from era_cli.documents.numbers import numbers
from era_cli.results import Curves, EpochRow, LrSweep, SeedResults


def sweep(sweep: LrSweep) -> dict[str, Any]:
    """A whole sweep: its summary, every rate, every loss (null after a stop) and the smoothed mean."""
    return {
        **dataclasses.asdict(sweep.summary),
        "rates": sweep.rates.tolist(),
        "losses": [numbers(losses.tolist()) for losses in sweep.losses],
        "smoothed": numbers(sweep.smoothed.tolist()),
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


def _row(row: EpochRow) -> dict[str, Any]:
    cells = dataclasses.asdict(row)
    return dict(zip(cells, numbers(list(cells.values())), strict=True))
