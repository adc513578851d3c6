"""Whether a run that something happened to ended like one that nothing happened to."""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import io
import json
from collections.abc import Collection, Set
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from era_cli.core.fit import rows
from era_cli.core.fit.training_state import WRITER
from era_cli.core.networks import checkpoint
from era_cli.errors import EraError
from era_cli.files import TEMPORARY_SUFFIX
from era_cli.results import EpochRow
from era_cli.runs.artifacts import DOCUMENT, LOCK, METRICS
from tests.support import assert_same, files

# What of a run depends on when, how often, where or under which name it was trained.
_TIMES = {"name", "started", "ended", "seconds", "sessions", "command", "train_seconds", "source"}
_COLUMNS = {"seconds", "images_per_second"}
_MOMENTS = {"started", "ended", "seconds", "command", "train_seconds", "error"}  # what changes with each fault
_STRAY = (TEMPORARY_SUFFIX, ".new", ".replaced", ".creating")
_BUILDING = ".building-"


def assert_equal_runs(one: Path, other: Path, *, may_lack: Collection[str] = ()) -> None:
    """Every file of the run `one` holds what that of `other` does, but for times and names; none is left over."""
    had = {name for name in files(one) - {LOCK} if not name.endswith(TEMPORARY_SUFFIX)}  # assert_nothing_stray
    wanted = files(other) - {LOCK}
    assert wanted - set(may_lack) <= had <= wanted, (sorted(had), sorted(wanted))
    for name in had:
        assert_equal_files(one / name, other / name)


def assert_refused(code: int, stderr: str, *says: str, codes: Collection[int] = (1,)) -> str:
    """The command ended with one of `codes` and one sentence that says all of `says`; returns the sentence."""
    assert code in codes, (code, stderr[-3000:])
    for word in ("Traceback", "Exception ignored", "Fatal Python error"):
        assert word not in stderr, stderr[-3000:]
    errors = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, stderr[-3000:]
    assert stderr.rstrip().splitlines()[-1] == errors[0], stderr[-3000:]
    for word in says:
        assert word in errors[0], errors[0]
    return errors[0]


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
    left = [str(path.relative_to(folder)) for path in strays(folder)]
    assert not left, left


def strays(folder: Path) -> list[Path]:
    """The temporary files and folders in the folder and below."""
    return [path for path in folder.rglob(".*") if is_stray(path.name)]


def is_stray(name: str) -> bool:
    """Whether this is the name of something temporary."""
    return name.startswith(".") and (name.endswith(_STRAY) or name.startswith(_BUILDING))


def lasting_name(path: str) -> str:
    """The path without what differs from process to process in the names of temporary files and folders."""
    return "/".join(_without_number(part) if is_stray(part) else part for part in path.split("/"))


def _without_number(name: str) -> str:
    if name.startswith(_BUILDING):
        return _BUILDING
    stem, suffix = name.rsplit(".", 1)
    return f"{stem.rsplit('.', 1)[0] if suffix in ('partial', 'creating') else stem}.{suffix}"


def state_of(folder: Path) -> frozenset[tuple[str, int, Any]]:
    """All that the folder holds, but for times; two folders of the same state are the same to every command.

    No command reads a temporary file, so that its name alone counts.
    """
    return frozenset(
        (
            lasting_name(name := path.relative_to(folder).as_posix()),
            path.stat().st_nlink if path.is_file() else 0,
            _content(path) if path.is_file() and not name.endswith(TEMPORARY_SUFFIX) else None,
        )
        for path in folder.rglob("*")
    )


def _content(path: Path) -> Any:
    """What two files of the same meaning have in common: the file without its times, or all of it if it is damaged."""
    content = path.read_bytes()
    try:
        if path.suffix == ".ckpt":
            return _frozen_state(content)
        if path.name == DOCUMENT:
            return _frozen(_timeless(json.loads(content), _MOMENTS))
        if path.name == METRICS and content.endswith(b"\n"):
            return _frozen(_rows(content))
    except (EraError, ValueError, KeyError, IndexError, csv.Error):
        pass
    return hashlib.sha256(content).digest()


@functools.lru_cache(maxsize=256)
def _frozen_state(content: bytes) -> bytes:
    return hashlib.sha256(repr(_frozen(_timeless(_state(content), _MOMENTS))).encode()).digest()


def _frozen(value: Any) -> Any:
    """The value as one that can be hashed."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), hashlib.sha256(value.contiguous().numpy().tobytes()).digest()
    if isinstance(value, dict):
        return tuple((name, _frozen(item)) for name, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return value


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


def _timeless(value: Any, times: Set[str] = _TIMES) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(item, times) for name, item in value.items() if name not in times}
    if isinstance(value, list):
        return [_timeless(item, times) for item in value]
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
