"""Runs at a glance: what `era runs` shows of each, read from a few small files. Loads no torch."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from era_cli import recipes
from era_cli.choices import RunOrder
from era_cli.errors import EraError
from era_cli.recipes import REFERENCE_IMAGE_SIZE, flag
from era_cli.results import EpochRow, RunDetails, RunFile, RunSummary
from era_cli.runs import best_epoch, history, store
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run

_MOST_METRICS = 4_000_000  # bytes of a metrics.csv: room for the 10,000 epochs that a recipe can have
_BY_DATA = ("val_size", "limit_val", "flip")  # fields that the data decide unless an option does

_KEYS: dict[RunOrder, Callable[[RunSummary], Any]] = {
    RunOrder.STARTED: lambda run: run.started,
    RunOrder.NAME: lambda run: store.natural(run.name),
    RunOrder.DATA: lambda run: run.source,
    RunOrder.RECIPE: lambda run: run.recipe and (run.recipe, *map(str, (run.changes or {}).items())),
    RunOrder.EPOCHS: lambda run: run.epochs,
    RunOrder.STATUS: lambda run: run.status,
    RunOrder.VAL: lambda run: run.val_acc,
    RunOrder.TEST: lambda run: run.test_acc,
    RunOrder.TIME: lambda run: run.seconds,
    RunOrder.SIZE: lambda run: run.size,
}


def everything(runs_dir: Path) -> list[RunSummary]:
    """Every run under `runs_dir`, the most recently started last.

    Raises:
        OSError: the folder of the runs cannot be read.
    """
    return ordered((summary(Run(path)) for path in store.folders(runs_dir)), RunOrder.STARTED)


def ordered(runs: Iterable[RunSummary], order: RunOrder) -> list[RunSummary]:
    """The runs sorted by `order`, those without it first and equal ones by their start, as `latest` counts."""
    by_start = sorted(runs, key=lambda run: (run.started, run.name))
    key = _KEYS[order]
    there: list[RunSummary] = []
    lacking: list[RunSummary] = []
    for run in by_start:
        (lacking if key(run) is None else there).append(run)
    return lacking + sorted(there, key=key)


def summary(run: Run) -> RunSummary:
    """The run at a glance, whatever is wrong with it."""
    try:
        return _summary(run, run.read())
    except EraError as error:
        return RunSummary(
            path=run.path,
            status="unreadable",
            started=store.started(run.document_file),
            size=size(run.path),
            problem=str(error),
        )


def details(run: Run) -> tuple[RunDocument, RunDetails]:
    """What run.json holds, and everything else about the run.

    Raises:
        EraError: run.json is absent or damaged.
    """
    document = run.read()
    files = []
    for artifact in run.contents():
        name = artifact.path.relative_to(run.path).as_posix()
        files.append(RunFile(path=name, title=artifact.title, size=artifact.path.lstat().st_size))
    found = RunDetails(
        summary=_summary(run, document),
        recipe=document.recipe,
        usual=recipes.usual(document.recipe),
        files=tuple(files),
    )
    return document, found


def changes(document: RunDocument) -> dict[str, Any]:
    """The fields in which a run's recipe differs from its named one, except for those that its data decided."""
    own = {**vars(document.recipe), "image_size": document.data.image_size}
    command = document.sessions[0].command if document.sessions else document.command
    options = {word.partition("=")[0] for word in command}
    decided = {name: own[name] for name in _BY_DATA if flag(name) not in options}
    usual = {**vars(recipes.usual(document.recipe)), "image_size": REFERENCE_IMAGE_SIZE, **decided}
    return {name: own[name] for name, value in usual.items() if own[name] != value}


def _summary(run: Run, document: RunDocument) -> RunSummary:
    status: str = document.status
    if status == "running" and run.is_in_use() is False:
        document = run.read()  # it may have ended since it was read
        status = "interrupted" if document.status == "running" else document.status
    result, problem = document.result, None
    rows: list[EpochRow] = []
    if document.status != "finished":
        try:
            rows = history.salvage(run.metrics_file, EpochRow, most=_MOST_METRICS)[0]
        except EraError as error:
            problem = str(error)
    epochs = document.recipe.epochs if document.status == "finished" else None if problem else len(rows)
    return RunSummary(
        path=run.path,
        status=status,
        started=_instant(document.started).isoformat(),
        size=size(run.path),
        source=document.data.source,
        recipe=document.recipe.name,
        changes=changes(document),
        epochs=epochs,
        planned_epochs=document.recipe.epochs,
        val_acc=_best_validation(rows) if result is None else result.val_acc,
        test_acc=None if result is None else result.test_acc,
        seconds=_seconds(document, status, rows),
        problem=problem,
    )


def _best_validation(rows: list[EpochRow]) -> float | None:
    best = best_epoch.best(rows).val_acc if rows else None
    return best if best is not None and 0 <= best <= 1 else None


def _seconds(document: RunDocument, status: str, rows: list[EpochRow]) -> float:
    """The wall time of all sessions; run.json says it when one ends, which a killed one does not live to see."""
    seconds = document.seconds
    if document.status != "running":
        return seconds
    if status == "running" and document.sessions:
        began = _instant(document.sessions[-1].started)
        return seconds + max(0.0, (datetime.now(UTC) - began).total_seconds())
    return max(seconds, sum(row.seconds for row in rows if 0 <= row.seconds < math.inf))


def _instant(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    try:
        return time.astimezone(UTC)
    except OverflowError:  # of the first day there is
        return time.replace(tzinfo=UTC)


def size(folder: Path) -> int:
    """The bytes of every file below the folder; two names of one file count once, and no link is followed."""
    total = 0
    seen: set[tuple[int, int]] = set()
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        continue
                    status = entry.stat(follow_symlinks=False)
                    file = (status.st_dev, status.st_ino)
                    if status.st_nlink == 1 or file not in seen:
                        total += status.st_size
                        seen.add(file)
        except OSError:  # gone meanwhile, or not to be entered
            continue
    return total
