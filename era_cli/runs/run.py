"""One run folder: its paths, its lock, and run.json. Loads no torch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout

from era_cli.errors import EraError
from era_cli.files import atomic_write_json
from era_cli.results import Curves, EpochRow, StepRow
from era_cli.runs import history

SCHEMA = 1
Status = Literal["running", "finished", "interrupted", "failed"]

_PARTS = ("status", "recipe.epochs", "recipe.batch_size", "data.counts.train", "data.counts.val")


class Run:
    """One run folder. The paths of its files, and run.json as a dictionary."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def json_file(self) -> Path:
        """All that is to be known of the run, but for its curves and weights."""
        return self.path / "run.json"

    @property
    def metrics_file(self) -> Path:
        """One row per epoch."""
        return self.path / "metrics.csv"

    @property
    def steps_file(self) -> Path:
        """One row per optimizer step."""
        return self.path / "steps.csv"

    @property
    def samples_file(self) -> Path:
        """A picture of augmented training images."""
        return self.path / "samples.png"

    @property
    def curves_file(self) -> Path:
        """A picture of loss, accuracy and learning rate."""
        return self.path / "curves.png"

    @property
    def lr_find_file(self) -> Path:
        """A picture of the sweep that chose the peak rate, if one did."""
        return self.path / "lr-find.png"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def read(self) -> dict[str, Any]:
        """The content of run.json.

        Raises:
            EraError: it is absent, damaged, or of a newer schema.
        """
        try:
            document = json.loads(self.json_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise EraError(f"{self.path} is no run folder: it has no run.json") from None
        except (ValueError, OSError) as error:
            raise EraError(f"{self.json_file} cannot be read ({error}): restore it from a copy") from error
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise EraError(f"{self.json_file} is not of schema {SCHEMA}: use the era that wrote it")
        return document

    def read_whole(self) -> dict[str, Any]:
        """The content of run.json, which has every part that `era fit` writes before it trains.

        Raises:
            EraError: as `read`, or a part is missing.
        """
        document = self.read()
        for part in _PARTS:
            inner: Any = document
            for key in part.split("."):
                if not isinstance(inner, dict) or key not in inner:
                    raise EraError(f"{self.json_file} is damaged, it has no {part}: restore it from a copy")
                inner = inner[key]
        return document

    def update(self, **changes: Any) -> None:
        """Replaces the given keys of run.json."""
        atomic_write_json(self.json_file, {**self.read(), **changes})

    def epochs(self) -> list[EpochRow]:
        """The rows of metrics.csv."""
        return history.read(self.metrics_file, EpochRow)

    def steps(self) -> list[StepRow]:
        """The rows of steps.csv."""
        return history.read(self.steps_file, StepRow)

    def curves(self) -> Curves:
        """Everything that is sound in metrics.csv and steps.csv.

        Raises:
            EraError: run.json is absent or damaged.
        """
        document = self.read_whole()
        epochs, epochs_left_out = history.salvage(self.metrics_file, EpochRow)
        table, steps_left_out = history.columns(self.steps_file, StepRow)
        recipe, result, counts = document["recipe"], document.get("result") or {}, document["data"]["counts"]
        if judged := result.get("best_epoch"):
            best = next((row for row in epochs if row.epoch == judged), None)
        else:
            best = history.best(epochs, max(1, counts["val"])) if epochs else None
        return Curves(
            name=self.name,
            status=document["status"],
            planned_epochs=recipe["epochs"],
            epochs=tuple(epochs),
            best=best,
            steps=table[:, 0].astype(np.int64),
            rates=table[:, 1],
            steps_per_epoch=max(1, counts["train"] // max(1, recipe["batch_size"])),
            test_acc=result.get("test_acc"),
            left_out=tuple(map(str, (*epochs_left_out, *steps_left_out))),
        )

    def files(self) -> list[Path]:
        """Every file of the run that a person may open, sorted; hidden ones are left out."""
        return sorted(path for path in self.path.rglob("*") if path.is_file() and not path.name.startswith("."))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other writers out while the block runs; the system frees it should the process die.

        Raises:
            EraError: another process is writing to the run.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise EraError(f"{self.path} is in use: another era is training it; wait for it or stop it") from None
        try:
            yield
        finally:
            lock.release()
