"""Run folders: create, lock, find, read, write. Loads no torch."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout

from era_cli import history
from era_cli.errors import EraError, UsageError
from era_cli.files import atomic_write_json
from era_cli.results import Curves, EpochRow, StepRow

SCHEMA = 1
LATEST = "latest"
SWEEPS = "lr-find"  # the folder beside the runs that holds what lr-find writes
Status = Literal["running", "finished", "interrupted", "failed"]

_PARTS = ("status", "recipe.epochs", "recipe.batch_size", "data.counts.train", "data.counts.val")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


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


def check_name(runs_dir: Path, name: str | None) -> None:
    """Refuses a name before hours of loading rather than after.

    Raises:
        UsageError: the name is taken or is no plain file name.
    """
    if name is None:
        return
    if not _NAME.fullmatch(name) or name in (LATEST, SWEEPS):
        raise UsageError(
            f"--name {name!r} cannot name a run: use up to 100 letters, digits, dots, dashes and underscores"
            f" (and not {LATEST!r} or {SWEEPS!r})"
        )
    if (runs_dir / name).exists():
        raise UsageError(f"{runs_dir / name} exists already: choose another --name, or continue it with --resume")


def create(runs_dir: Path, name: str | None, source: str, document: Mapping[str, Any]) -> Run:
    """Makes a new run folder with its run.json: `name`, or `source` and the next number.

    Args:
        document: run.json without `schema` and `name`.

    Raises:
        UsageError: the name is taken or is no plain file name.
        EraError: the folder cannot be written.
    """
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        path = _make_named(runs_dir, name) if name is not None else _make_numbered(runs_dir, source)
        run = Run(path)
        run.checkpoints.mkdir()
        atomic_write_json(run.json_file, {"schema": SCHEMA, "name": run.name, **document})
    except OSError as error:
        raise EraError(
            f"no run can be written under {runs_dir} ({error.strerror or error}): choose another --runs-dir"
        ) from error
    return run


def free_stem(folder: Path, stem: str) -> Path:
    """`folder/stem-N` with the lowest N above those of any file or folder there, whatever its suffix."""
    stem = _plain(stem)
    return folder / f"{stem}-{_next_number(folder, stem)}"


def _make_named(runs_dir: Path, name: str) -> Path:
    check_name(runs_dir, name)
    try:
        (runs_dir / name).mkdir()
    except FileExistsError:  # another era was faster
        check_name(runs_dir, name)
        raise
    return runs_dir / name


def _make_numbered(runs_dir: Path, source: str) -> Path:
    stem = _plain(source)
    number = _next_number(runs_dir, stem)
    while True:
        path = runs_dir / f"{stem}-{number}"
        try:
            path.mkdir()
        except FileExistsError:  # another era was faster
            number += 1
        else:
            return path


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:100] or "run"


def _next_number(folder: Path, stem: str) -> int:
    pattern = re.compile(re.escape(stem) + r"-(\d+)(\.\w+)?")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return max((int(match[1]) for name in names if (match := pattern.fullmatch(name))), default=0) + 1


def find(runs_dir: Path, which: str) -> Run:
    """The run called `which`: a name under `runs_dir`, a path, or `latest`, the one started last.

    Raises:
        EraError: there is no such run.
    """
    if which == LATEST:
        return _latest(runs_dir)
    for path in (runs_dir / which, Path(which)):
        if (path / "run.json").is_file():
            return Run(path if path.name not in ("", "..") else path.resolve())
    known = ", ".join(sorted(path.parent.name for path in runs_dir.glob("*/run.json"))) or "none"
    raise EraError(f"there is no run {which!r} under {runs_dir} (runs there: {known}): check the name or --runs-dir")


def _latest(runs_dir: Path) -> Run:
    started: list[tuple[str, Run]] = []
    for file in runs_dir.glob("*/run.json"):
        run = Run(file.parent)
        with contextlib.suppress(EraError):
            started.append((str(run.read().get("started", "")), run))
    if not started:
        raise EraError(f"there is no run under {runs_dir} yet: train one with era fit, or name another --runs-dir")
    return max(started, key=lambda pair: (pair[0], pair[1].name))[1]


def now() -> str:
    """The time in UTC, as ISO 8601 to the microsecond."""
    return datetime.now(UTC).isoformat()
