"""What several tests share: a tiny request, a run document, rows, and `era` as a process."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import Result

from era_cli.recipes import default, with_options
from era_cli.results import EpochRow, FitResult
from era_cli.runs import artifacts, store
from era_cli.runs.document import (
    ClassCounts,
    DataRecord,
    DeviceRecord,
    RunDocument,
    SplitCounts,
    Versions,
)
from era_cli.runs.run import Run

ERA = [sys.executable, "-m", "era_cli"]
ESCAPE = "\x1b"

# Five steps an epoch of the real network on 8 px digits: a second or two a run. Dropout is on, so
# that a resumed run has every random stream to get right.
TINY: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 32,
    "limit_train": 160,
    "image_size": 8,
    "dropout": 0.1,
    "precision": "32",
}


def request(runs_dir: Path, *, name: str | None = None, source: str | None = "digits", **fields: Any) -> Any:
    """What `era fit` asks the core for, with the tiny recipe and `fields` on top."""
    from era_cli.core.fit import start

    given = {**TINY, **fields}
    return start.FitRequest(
        recipe=with_options(default(), given),
        given=given,
        source=source,
        data_dir=None,
        strict=False,
        gpus="0",
        runs_dir=runs_dir,
        name=name,
        command=["era", "fit"],
    )


RESULT = FitResult(
    best_epoch=2,
    best_val_acc=0.75,
    best_val_loss=1.5,
    test_acc=0.875,
    test_loss=0.5,
    test_correct=70,
    test_count=80,
    seconds=3.5,
)


def run_document(**changes: Any) -> RunDocument:
    """run.json of a run of two classes: 175 training images in batches of 32, 40 for validation, 80 for testing."""
    document = RunDocument(
        name="digits-1",
        status="running",
        started="2026-01-01T00:00:00+00:00",
        ended=None,
        seconds=0.0,
        recipe=with_options(default(), {"batch_size": 32}),
        lr_find=None,
        seed=0,
        data=DataRecord(
            source="digits",
            data_dir=None,
            content_hash="0" * 64,
            image_size=32,
            classes=("even", "odd"),
            counts=SplitCounts(train=175, val=40, test=80),
            class_counts=ClassCounts(train=(100, 75), val=(20, 20), test=(40, 40)),
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            skipped=(),
        ),
        device=DeviceRecord(accelerator="cpu", name="a processor", precision="32", threads=2),
        versions=Versions(era="0.1.0", torch="2.14.1", lightning="2.6.6"),
        git_commit=None,
        command=("era", "fit"),
        sessions=(),
        result=None,
        error=None,
    )
    return dataclasses.replace(document, **changes)


def make_run(runs_dir: Path, name: str | None = None, source: str = "digits", **changes: Any) -> Run:
    """A run folder with this run.json and nothing else."""
    return store.create(runs_dir, name, source, lambda given: run_document(name=given, **changes))


def epoch_row(epoch: int, val_acc: float | None = 0.5, val_loss: float | None = 1.0, **changes: Any) -> EpochRow:
    """A row of metrics.csv."""
    row = EpochRow(
        epoch=epoch,
        train_loss=2.5,
        train_acc=0.25,
        val_loss=val_loss,
        val_acc=val_acc,
        lr=0.1,
        seconds=12.5,
        images_per_second=4000.0,
    )
    return dataclasses.replace(row, **changes)


def copied(run: Path, to: Path) -> Run:
    """A copy to be written to; its best checkpoint is a second name of the original and must be replaced whole."""
    shutil.copytree(run, to, ignore=shutil.ignore_patterns("*.ckpt"))
    best = Path(artifacts.CHECKPOINTS) / artifacts.BEST
    (to / best).hardlink_to(run / best)
    return Run(to)


def environment(**changes: str) -> dict[str, str]:
    """That of an `era` process: one thread, no terminal settings of the person."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **changes}


def era(*arguments: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """`era` as a process, to its end."""
    return subprocess.run(
        [*ERA, *arguments], cwd=cwd, capture_output=True, text=True, env=environment(**changes), timeout=120
    )


def the_error(result: Result) -> str:
    """The one sentence on stderr."""
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line.removeprefix("Error: ")
