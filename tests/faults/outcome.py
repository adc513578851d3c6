"""Whether a run that something happened to ended like one that nothing happened to."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from era_cli.core.fit import rows
from era_cli.core.fit.training_state import WRITER
from era_cli.core.networks import checkpoint
from era_cli.files import TEMPORARY_SUFFIX
from era_cli.results import EpochRow
from era_cli.runs.artifacts import DOCUMENT, LOCK, METRICS
from tests.support import assert_same, files

# What of a run depends on when, how often, where or under which name it was trained.
_TIMES = {"name", "started", "ended", "seconds", "sessions", "command", "train_seconds", "source"}
_COLUMNS = {"seconds", "images_per_second"}
STRAY = (".partial", ".new", ".replaced", ".creating")


def assert_equal_runs(one: Path, other: Path, *, may_lack: Collection[str] = ()) -> None:
    """Every file of the run `one` holds what that of `other` does, but for times and names; none is left over."""
    had = {name for name in files(one) - {LOCK} if not name.endswith(TEMPORARY_SUFFIX)}  # assert_nothing_stray
    wanted = files(other) - {LOCK}
    assert wanted - set(may_lack) <= had <= wanted, (sorted(had), sorted(wanted))
    for name in had:
        assert_equal_files(one / name, other / name)


def assert_equal_files(one: Path, other: Path) -> None:
    """Two files of a run say the same, but for times and names."""
    if (left := one.read_bytes()) == (right := other.read_bytes()):
        return
    kind = one.suffix
    if kind == ".json":
        left_json, right_json = (_timeless(json.loads(content)) for content in (left, right))
        assert left_json == right_json, f"{one.name} differs: {left_json} is not {right_json}"
    elif kind == ".ckpt":
        assert_same(*map(_timeless, (_state(content) for content in (left, right))))
    elif kind == ".npz":
        _assert_equal_arrays(left, right)
    elif one.name == METRICS:
        assert _rows(left) == _rows(right)
    elif kind == ".png":
        for content in (left, right):
            with Image.open(io.BytesIO(content)) as image:
                image.load()
    else:
        raise AssertionError(f"{one.name} differs: {left[:500]!r} is not {right[:500]!r}")


def assert_nothing_stray(folder: Path) -> None:
    """No temporary file or folder lies anywhere in the folder."""
    strays = [
        str(path.relative_to(folder))
        for path in folder.rglob(".*")
        if path.name.endswith(STRAY) or path.name.startswith(".building-")
    ]
    assert not strays, strays


def run_named(runs: Path, name: str) -> dict[str, Any]:
    """What run.json of the run says; nothing where there is no such run."""
    file = runs / name / DOCUMENT
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _state(content: bytes) -> dict[str, Any]:
    """The training state, its copy of metrics.csv without the times."""
    state = checkpoint.parse(content, Path("a checkpoint"))
    table = state["callbacks"][WRITER][rows.KEY]["epochs"]
    table[:, [number for number, spec in enumerate(dataclasses.fields(EpochRow)) if spec.name in _COLUMNS]] = 0
    table.nan_to_num_(-1)  # an empty cell, which is not equal to itself
    return state


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(item) for name, item in value.items() if name not in _TIMES}
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    return value


def _rows(content: bytes) -> list[dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    return [{name: cell for name, cell in row.items() if name not in _COLUMNS} for row in rows]


def _assert_equal_arrays(left: bytes, right: bytes) -> None:
    with np.load(io.BytesIO(left)) as one, np.load(io.BytesIO(right)) as other:
        assert one.files == other.files
        for name in one.files:
            if name == "computed_from":
                # The fingerprint holds the checksum of a checkpoint, which times are part of.
                documents = [json.loads(str(arrays[name])) for arrays in (one, other)]
                for document in documents:
                    document["fingerprint"].pop("checkpoint")
                assert documents[0] == documents[1]
            else:
                assert np.array_equal(one[name], other[name]), name
