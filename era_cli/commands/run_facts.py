"""What there is to say about a run: facts for people, and the command that trains the same again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from era_cli.commands import next_step
from era_cli.commands.deliver import Fact
from era_cli.text import plural

if TYPE_CHECKING:  # these load numpy, which help does not need
    from era_cli.results import RunSummary
    from era_cli.runs.document import RunDocument
    from era_cli.runs.run import Run

_MOST_CLASSES = 10  # named


def facts(run: Run, document: RunDocument, summary: RunSummary) -> list[Fact]:
    """What a person asks of a run first, and what it was trained on, with and by."""
    from era_cli.console.terminal import duration
    from era_cli.runs import slimming

    data, counts, device, versions = document.data, document.data.counts, document.device, document.versions
    done = f"{'?' if summary.epochs is None else summary.epochs} of {plural(document.recipe.epochs, 'epoch')}"
    processes = f", {plural(device.processes, 'process')} on {plural(device.nodes, 'machine')}"
    told = [
        ("run", str(run.path)),
        ("status", f"{summary.status}, {done}"),
        ("started", f"{summary.started[:16].replace('T', ' ')} UTC"),
        ("time", f"{duration(summary.seconds or 0)} in {plural(len(document.sessions) or 1, 'session')}"),
    ]
    if document.error is not None:
        told.append(("error", document.error))
    if summary.problem is not None:
        told.append(("problem", summary.problem))
    told += _results(document, summary)
    told += [
        ("data", data.source),
        ("images", f"{counts.train:,} training, {counts.val:,} validation, {counts.test:,} test; {data.image_size} px"),
        ("classes", f"{len(data.classes)}: {', '.join(data.classes[:_MOST_CLASSES])}{_more(data.classes)}"),
        ("hash", data.content_hash),
        ("device", f"{device.name}, {device.precision}{processes if device.processes > 1 else ''}"),
        ("versions", f"era {versions.era}, torch {versions.torch}, lightning {versions.lightning}"),
    ]
    if document.git_commit is not None:
        told.append(("git commit", document.git_commit))
    if slimming.is_slim(run, document):
        told.append(("slim", "it can be evaluated, but neither resumed nor verified"))
    return [*told, ("command", shlex.join(document.command)), ("repeat with", repeat(document, summary))]


def lead(document: RunDocument, summary: RunSummary, parameters: int) -> str:
    """What was trained on what, for how long and by what, in a sentence."""
    from era_cli.console.terminal import duration

    data, device = document.data, document.device
    done = "?" if summary.epochs is None else f"{summary.epochs:,}"
    epochs = plural(document.recipe.epochs, "epoch")
    if summary.epochs != document.recipe.epochs:
        epochs = f"{done} of {epochs}"
    shared = f"{plural(device.processes, 'process')} on " if device.processes > 1 else ""
    time, where = duration(summary.seconds or 0), f"{shared}{device.name}, {device.precision}"
    return (
        f"Network {document.recipe.network} with {parameters:,} parameters, trained on"
        f" {plural(data.counts.train, 'image')} of {data.source} for {epochs} in {time} ({where})."
    )


def _more(classes: tuple[str, ...]) -> str:
    return f" and {len(classes) - _MOST_CLASSES} more" if len(classes) > _MOST_CLASSES else ""


def _results(document: RunDocument, summary: RunSummary) -> list[Fact]:
    result = document.result
    if result is None:
        return [] if summary.val_acc is None else [("validation", f"{summary.val_acc:.2%} (best epoch so far)")]
    facts = []
    if result.val_acc is not None and result.val_loss is not None:
        facts.append(("validation", f"{result.val_acc:.2%}, loss {result.val_loss:.4f} (epoch {result.best_epoch})"))
    counted = f"{result.test_correct:,} of {result.test_count:,}"
    sampled = f", a sample of {result.test_total:,}" if result.test_sample else ""
    return [*facts, ("test", f"{result.test_acc:.2%} ({counted}{sampled}), loss {result.test_loss:.4f}")]


def repeat(document: RunDocument, summary: RunSummary) -> str:
    """The command that trains the same again, whatever options and sessions it took the first time."""
    data, device = document.data, document.device
    shared: dict[str, Any] = {}
    if device.processes > 1:
        each = device.processes // device.nodes
        shared = {
            "gpus" if device.accelerator == "cuda" else "cpu_procs": each,
            "sync_batchnorm": device.sync_batchnorm,
        }
        shared["nodes"] = device.nodes if device.nodes > 1 else None
    return next_step.line(
        "fit",
        data=None if data.source == "cifar10" else data.source,
        data_dir=None if data.data_dir is None else Path(data.data_dir),
        recipe=None if document.recipe.name == "default" else document.recipe.name,
        **dict(summary.changes or {}),
        **{name: value for name, value in shared.items() if value},
    )
