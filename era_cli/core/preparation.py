"""From what a person asked for to a Fit that is ready to train: data loaded, machine checked, run folder made."""

from __future__ import annotations

import dataclasses
import math
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import era_cli
from era_cli import runs
from era_cli.core import checkpoint, devices
from era_cli.core.data import sources
from era_cli.core.data.dataset import Dataset, mean_and_std
from era_cli.core.data.splits import steps_per_epoch, train_and_val
from era_cli.core.module import FEWEST_STEPS
from era_cli.core.normalize import Normalization
from era_cli.core.training import Fit
from era_cli.errors import EraError, UsageError
from era_cli.listener import Listener
from era_cli.recipe import Recipe, flag
from era_cli.results import Labels
from era_cli.runs import Run

DEFAULT_SOURCE = "cifar10"
FEWEST_STEPS_PER_EPOCH = 8  # below, a batch that nobody named is made smaller
SMALLEST_BATCH = 4
SETTLING_STEPS = 40  # after which 0.9 ** 40, 1.5 %, of batch-norm's first averages is left


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked `era fit` for.

    `given` holds the recipe fields that the person named, as against those of the named recipe;
    `source` is None where `--data` was left out; `command` is the command line, for run.json.
    """

    recipe: Recipe
    given: Mapping[str, Any]
    source: str | None
    data_dir: Path | None
    strict: bool
    gpus: str
    runs_dir: Path
    name: str | None
    command: list[str]


def prepare(request: Request, listener: Listener) -> Fit:
    """Loads and splits the data, checks the machine, and makes the run folder.

    Raises:
        EraError: anything is amiss; no folder was made then.
    """
    device = devices.choose(request.gpus, request.recipe.precision)
    runs.check_name(request.runs_dir, request.name)
    dataset = _load(request, request.source or DEFAULT_SOURCE, request.recipe, listener)
    recipe = request.recipe
    if not dataset.mirrors and "flip" not in request.given:
        recipe = dataclasses.replace(recipe, flip=0.0)
    train, val = _split(dataset, recipe)
    recipe, batch_note = _with_fitting_batch(recipe, len(train), request.given)
    _require_steps(train, recipe)
    # What was left to the data is settled now, so that a resumed run finds it said.
    recipe = dataclasses.replace(recipe, val_size=len(val), image_size=dataset.image_size)
    normalization = Normalization(*mean_and_std(dataset.images, train))
    session = _session(device, request)
    document = {
        "status": "running",
        "started": runs.now(),
        "ended": None,
        "seconds": 0.0,
        "recipe": recipe.as_dict(),
        "seed": recipe.seed,
        "data": {
            "source": dataset.source,
            "content_hash": dataset.content_hash,
            "image_size": dataset.image_size,
            "classes": list(dataset.classes),
            "counts": {"train": len(train), "val": len(val), "test": len(dataset.test)},
            "class_counts": {
                name: np.bincount(dataset.labels[part], minlength=len(dataset.classes)).tolist()
                for name, part in (("train", train), ("val", val), ("test", dataset.test))
            },
            "mean": list(normalization.mean),
            "std": list(normalization.std),
            "skipped": list(dataset.skipped),
        },
        **session,
        "sessions": [],
        "result": None,
        "error": None,
    }
    return Fit(
        run=runs.create(request.runs_dir, request.name, dataset.name, document),
        recipe=recipe,
        dataset=dataset,
        train_indices=train,
        val_indices=val,
        normalization=normalization,
        device=device,
        session=session,
        notes=(*_notes(dataset, device), *batch_note, *_warnings(dataset, train, val, recipe)),
    )


def resume(run: Run, request: Request, listener: Listener) -> Fit:
    """The Fit that goes on with `run` from its newest sound checkpoint.

    Whatever the person named must be as it is in the run, but for where the data lie and which
    processor to use.

    Raises:
        UsageError: an option differs from the run's.
        EraError: the run is finished or in use, its data changed, or no checkpoint is sound.
    """
    document = run.read()
    recipe = Recipe.from_dict(document["recipe"])
    source = str(document["data"]["source"])
    precision = str(document["device"]["precision"])
    _refuse_changes(run, recipe, precision, source, request)
    if document["status"] == "finished":
        raise EraError(
            f"{run.path} is finished ({recipe.epochs} epochs): start a new run to train longer,"
            " since a one-cycle rate is planned to its end"
        )
    with run.lock():  # finds a live trainer before the data are loaded
        found = checkpoint.newest(run.checkpoints)
    try:
        device = devices.choose(request.gpus, precision)
    except UsageError as error:
        raise UsageError(f"{run.path} was begun in precision {precision}, and cannot go on here: {error}") from error
    dataset = _load(request, source, recipe, listener)
    if dataset.content_hash != document["data"]["content_hash"]:
        raise EraError(
            f"the images of {source} are no longer those that {run.path} was trained on:"
            " put them back, or start a new run"
        )
    train, val = _split(dataset, recipe)
    return Fit(
        run=run,
        recipe=recipe,
        dataset=dataset,
        train_indices=train,
        val_indices=val,
        normalization=Normalization(tuple(document["data"]["mean"]), tuple(document["data"]["std"])),
        device=device,
        session=_session(device, request),
        resume_from=found,
        notes=(*_notes(dataset, device), *((found.note,) if found.note else ())),
    )


def _session(device: devices.Device, request: Request) -> dict[str, Any]:
    return {
        "device": device.as_dict(),
        "versions": {"era": era_cli.__version__, "torch": torch.__version__, "lightning": version("lightning")},
        "git_commit": _git_commit(),
        "command": request.command,
    }


def _refuse_changes(run: Run, recipe: Recipe, precision: str, source: str, request: Request) -> None:
    changes = [
        ("--recipe" if field == "name" else flag(field), value, getattr(recipe, field))
        for field, value in request.given.items()
        if value != getattr(recipe, field) and (field, value) != ("precision", precision)
    ]
    if request.source is not None and _resolved(request.source) != source:
        changes.append(("--data", request.source, source))
    if request.name is not None and request.name != run.name:
        changes.append(("--name", request.name, run.name))
    if changes:
        option, value, stored = changes[0]
        raise UsageError(
            f"{option} {value} differs from the {stored} of {run.path}: a resumed run keeps its settings;"
            " leave the option out, or start a new run"
        )


def _resolved(source: str) -> str:
    path = Path(source).expanduser()
    return source if source in sources.NAMED or not path.is_dir() else str(path.resolve())


def _load(request: Request, source: str, recipe: Recipe, listener: Listener) -> Dataset:
    return sources.load(
        source, image_size=recipe.image_size, data_dir=request.data_dir, strict=request.strict, listener=listener
    )


def _split(dataset: Dataset, recipe: Recipe) -> tuple[Labels, Labels]:
    train, val = train_and_val(dataset.labels[dataset.train], recipe)
    for label, name in enumerate(dataset.classes):
        if label not in dataset.labels[dataset.train][train]:
            raise UsageError(
                f"class {name!r} has no training image left after the splits: give it more images,"
                " a smaller --val-size or a larger --limit-train"
            )
    return dataset.train[train], dataset.train[val]


def _with_fitting_batch(recipe: Recipe, count: int, given: Mapping[str, Any]) -> tuple[Recipe, tuple[str, ...]]:
    """A smaller batch for few images, unless the person named one, and a sentence that says so.

    SGD's peak shrinks in proportion (Goyal et al. 2017, arXiv:1706.02677), unless it was named too.
    """
    if "batch_size" in given or count // recipe.batch_size >= FEWEST_STEPS_PER_EPOCH:
        return recipe, ()
    batch = max(SMALLEST_BATCH, 2 ** int(math.log2(max(1, count / FEWEST_STEPS_PER_EPOCH))))
    changes: dict[str, Any] = {"batch_size": batch}
    if recipe.optimizer == "sgd" and "max_lr" not in given:
        changes["max_lr"] = recipe.max_lr * batch / recipe.batch_size
    smaller = dataclasses.replace(recipe, **changes)
    return smaller, (
        f"{count} training images are few for batches of {recipe.batch_size}: era takes {batch}, with a peak rate of"
        f" {smaller.max_lr:g}; --batch-size and --max-lr set others.",
    )


def _require_steps(train: Labels, recipe: Recipe) -> None:
    steps = steps_per_epoch(train, recipe) * recipe.epochs
    if steps < FEWEST_STEPS:
        raise UsageError(
            f"{steps} steps in all are too few for a one-cycle rate, which takes {FEWEST_STEPS}:"
            " use more --epochs or a smaller --batch-size"
        )


def _warnings(dataset: Dataset, train: Labels, val: Labels, recipe: Recipe) -> list[str]:
    """What makes the figures of this run doubtful."""
    doubts = []
    if (steps := steps_per_epoch(train, recipe) * recipe.epochs) < SETTLING_STEPS:
        doubts.append(
            f"{steps} steps in all are few: batch-norm's running averages have not settled by then, and validation may"
            " look like chance; use more --epochs or a smaller --batch-size."
        )
    missing = [name for label, name in enumerate(dataset.classes) if label not in dataset.labels[val]]
    if len(val) and missing:
        doubts.append(f"Class {missing[0]!r} has no validation image, so the best epoch is chosen without it.")
    return doubts


def _notes(dataset: Dataset, device: devices.Device) -> tuple[str, ...]:
    slow = (f"{device.name} does bf16 in software, slowly: 32 is faster on it.",) if device.emulated else ()
    if not dataset.skipped:
        return slow
    count = len(dataset.skipped)
    shown = ", ".join(dataset.skipped[:3]) + (f" and {count - 3} more (all in run.json)" if count > 3 else "")
    return (
        f"{count} image{'s' * (count > 1)} cannot be read and {'are' if count > 1 else 'is'} left out: {shown}",
        *slow,
    )


def _git_commit() -> str | None:
    """The commit of the working directory's repository, if it is in one."""
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()
