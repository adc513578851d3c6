"""run.json, typed: everything about a run except its curves and weights. Every field is checked when it is read.

Loads no torch.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from era_cli.errors import EraError
from era_cli.files import atomic_write_json
from era_cli.old_names import with_old_names
from era_cli.recipes import RECIPES, RENAMED_PRECISIONS, Recipe, UnknownField
from era_cli.regular_file import read_regular
from era_cli.results import FitResult, SweepSummary
from era_cli.results.units import Count, Fraction, Positive, Seconds
from era_cli.text import quoted

SCHEMA = 4  # of run.json, and of every JSON document that a command prints
OLDEST_SCHEMA = 1
MOST = 10_000_000  # bytes of a run.json: room for a hundred thousand skipped files

Status = Literal["running", "finished", "interrupted", "failed"]
Precision = Literal["fp32", "bf16", "fp16"]
Deviation = Annotated[float, Meta(gt=0, le=1)]

_LONGEST = 300  # characters of a sentence about a damaged field, whose value may be of any length

# What runs of older schemas did before they had a field for it. The recipe's fields say so themselves.
_BEFORE: dict[str, Any] = {"lr_find": None, "sessions": []}
_BEFORE_IN_DATA: dict[str, Any] = {"data_dir": None, "class_counts": None}
_RENAMED_IN_RESULT = {"best_val_acc": "val_acc", "best_val_loss": "val_loss"}


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    """Images in each split."""

    train: Positive
    val: Count
    test: Positive


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """Images of each class in each split, K numbers each."""

    train: tuple[Count, ...]
    val: tuple[Count, ...]
    test: tuple[Count, ...]


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """What a run was trained and tested on.

    `source` is what `--data` said (a folder by its absolute path), `data_dir` where CIFAR-10 was said to be.
    `content_hash` is that of the dataset. `mean` and `std` are those of the channels of the training images, in 0..1.
    `skipped` are the unreadable files with the reason of each.
    """

    source: Annotated[str, Meta(min_length=1)]
    data_dir: str | None
    content_hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    image_size: Annotated[int, Meta(ge=8, le=1024)]
    classes: Annotated[tuple[str, ...], Meta(min_length=2)]
    counts: SplitCounts
    class_counts: ClassCounts | None
    mean: tuple[Fraction, Fraction, Fraction]
    std: tuple[Deviation, Deviation, Deviation]
    skipped: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes names a class twice")
        if self.class_counts is None:
            return
        for split, counts in vars(self.class_counts).items():
            if len(counts) != len(self.classes) or sum(counts) != getattr(self.counts, split):
                raise ValueError(f"class_counts.{split} does not fit classes and counts.{split}")


@dataclass(frozen=True, kw_only=True)
class DeviceRecord:
    """The processor that a run was trained on, the precision that was chosen for it, and the CPU threads of a process.

    `processes` trained together on `nodes` machines, each on a device of this kind, with batch-norm's statistics those
    of each process or, with `sync_batchnorm`, of all of them.
    """

    accelerator: Literal["cpu", "cuda", "mps"]
    name: str
    precision: Precision
    threads: Positive
    processes: Positive = 1
    nodes: Positive = 1
    sync_batchnorm: bool = False


@dataclass(frozen=True, kw_only=True)
class Versions:
    """Versions of what trained a run."""

    era: str
    torch: str
    lightning: str


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What one session of training ran on and with: device, versions, git commit and command line."""

    device: DeviceRecord
    versions: Versions
    git_commit: str | None
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Session(Environment):
    """One session of training: from its start to its end or interruption."""

    started: str

    def __post_init__(self) -> None:
        _check_time("started", self.started)


@dataclass(frozen=True, kw_only=True)
class RunDocument(Environment):
    """The content of run.json; device, versions, git commit and command are those of the most recent session.

    `started` and `ended` are UTC in ISO 8601, `seconds` the wall time of all sessions. `lr_find` summarizes the sweep
    that chose the peak learning rate, if one did; `error` says why a run failed. `lost_epochs` are those whose
    checkpoints were damaged before a better epoch came: the best epoch of the run is the best of the others.
    """

    name: str
    status: Status
    started: str
    ended: str | None
    seconds: Seconds
    recipe: Recipe
    lr_find: SweepSummary | None
    seed: int
    data: DataRecord
    sessions: tuple[Session, ...]
    result: FitResult | None
    error: str | None
    lost_epochs: tuple[Positive, ...] = ()

    def __post_init__(self) -> None:
        _check_time("started", self.started)
        if self.ended is not None:
            _check_time("ended", self.ended)
        if self.seed != self.recipe.seed:
            raise ValueError(f"seed is {self.seed}, but recipe.seed is {self.recipe.seed}")
        if self.recipe.image_size not in (None, self.data.image_size):
            raise ValueError(f"data.image_size is {self.data.image_size}, but recipe.image_size is not")
        if not self.steps_per_epoch:
            raise ValueError(f"data.counts.train is {self.data.counts.train}, less than recipe.batch_size")
        if self.status == "finished" and self.result is None:
            raise ValueError("result is null, but status is finished")
        if self.result is not None and self.result.best_epoch > self.recipe.epochs:
            raise ValueError(f"result.best_epoch is {self.result.best_epoch}, but recipe.epochs {self.recipe.epochs}")

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return self.recipe.steps_per_epoch(self.data.counts.train)

    def epochs_after(self, step: int | None) -> float | None:
        """How many epochs `step` steps are, fractional within one; None of None."""
        if step is None:
            return None
        whole, rest = divmod(step, self.steps_per_epoch)
        return whole + rest / self.steps_per_epoch if rest else whole

    def as_dict(self) -> dict[str, Any]:
        """The document as JSON values."""
        fields = dataclasses.asdict(self)
        environment = {spec.name: fields.pop(spec.name) for spec in dataclasses.fields(Environment)}
        head = {name: fields.pop(name) for name in ("name", "status", "started", "ended", "seconds")}
        return {"schema": SCHEMA, **head, **environment, **fields}


def _check_time(name: str, text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} is {quoted(text)}, but must be a time in ISO 8601") from None


def write(path: Path, document: RunDocument) -> None:
    """Writes run.json, whole or not at all.

    Raises:
        EraError: it could not be written.
    """
    atomic_write_json(path, with_old_names(document.as_dict()))


def read(path: Path) -> RunDocument:
    """The content of the run.json at `path`, of this schema or an older one.

    Raises:
        EraError: it is absent, unreadable or of another version of era, or a field is missing, of the wrong type or
            out of range; the sentence names the file and the field.
    """
    try:
        text = read_regular(path, MOST).decode()
        fields = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except FileNotFoundError:
        raise EraError(f"{path.parent} is not a run folder: it has no {path.name}") from None
    except (ValueError, RecursionError) as error:
        raise EraError(f"{path} is not valid JSON ({error}): restore it from a backup") from error
    except OSError as error:
        raise EraError(f"{path} cannot be read ({error.strerror}): check what it is and its permissions") from error
    schema = fields.get("schema") if isinstance(fields, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise EraError(f"{path} has schema {quoted(schema)}, and this version of era reads up to {SCHEMA}: update era")
    try:
        return _parsed(fields, schema)
    except (ValueError, msgspec.ValidationError) as error:
        raise EraError(f"{path} is damaged ({_named(str(error))[:_LONGEST]}): restore it from a backup") from error
    except UnknownField as error:
        raise EraError(f"{path} was written by another version of era (recipe.{error}): use that version") from error


def _parsed(fields: Any, schema: Any) -> RunDocument:
    """The document of these JSON values; a ValueError or msgspec's ValidationError says what is wrong."""
    if not isinstance(fields, dict):
        raise ValueError("it is not an object")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < OLDEST_SCHEMA:
        raise ValueError(f"schema is {quoted(schema)}, but must be a number from {OLDEST_SCHEMA}")
    if schema < SCHEMA:
        fields = _upgraded(fields)
    recipe = fields.get("recipe")
    if not isinstance(recipe, dict):
        raise ValueError(f"recipe is {'missing' if 'recipe' not in fields else 'not an object'}")
    try:
        recipe = Recipe.from_dict(recipe, older=schema < SCHEMA)
    except ValueError as error:
        raise ValueError(f"recipe.{error}") from error
    if recipe.name not in RECIPES:
        raise ValueError(f"recipe.name is {recipe.name[:60]!r}, but must be one of {', '.join(RECIPES)}")
    return msgspec.convert({**fields, "recipe": recipe}, RunDocument)


def of_dict(fields: dict[str, Any]) -> RunDocument:
    """The document of what `as_dict` gave another process of the same era."""
    return _parsed(fields, fields["schema"])


def _upgraded(fields: dict[str, Any]) -> dict[str, Any]:
    """The JSON values of an older schema as they are written today."""
    fields = {**_BEFORE, **fields}
    if isinstance(data := fields.get("data"), dict):
        fields["data"] = {**_BEFORE_IN_DATA, **data}
    if isinstance(result := fields.get("result"), dict):
        result = {_RENAMED_IN_RESULT.get(name, name): value for name, value in result.items()}
        if "test_count" in result:
            result = {"test_total": result["test_count"], **result}  # the whole test split
        fields["result"] = result
    if isinstance(sessions := fields["sessions"], list):
        fields["sessions"] = [_with_current_precision(session) for session in sessions]
    return _with_current_precision(fields)


def _with_current_precision(environment: Any) -> Any:
    device = environment.get("device") if isinstance(environment, dict) else None
    if not isinstance(device, dict) or not isinstance(device.get("precision"), str):
        return environment
    precision = RENAMED_PRECISIONS.get(device["precision"], device["precision"])
    return {**environment, "device": {**device, "precision": precision}}


def _named(message: str) -> str:
    """msgspec's message with the field first: "Expected `int`, got `str` - at `$.seed`" -> "seed: expected ..."."""
    said, _, place = message.replace("`", "").partition(" - at ")
    field = place.removeprefix("$").removeprefix(".")
    if missing := re.fullmatch(r"Object missing required field (\w+)", said):
        return f"{'.'.join(filter(None, [field, missing[1]]))} is missing"
    return f"{field}: {said[0].lower()}{said[1:]}" if field else said


def _finite(text: str) -> float:
    """JSON has neither NaN nor infinity, which Python would read."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return number
