"""Runs as JSON documents: at a glance, as a page, verified, slimmed. Loads no torch."""

from __future__ import annotations

from typing import Any

from era_cli.documents.numbers import numbers
from era_cli.results import Report, RunDetails, RunSummary, Slimmed, Verification


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
                "difference": numbers([check.difference])[0],
            }
            for check in verification.checks
        ],
    }
