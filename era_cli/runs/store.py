"""Runs in their folder: create, find, and the most recent one. Loads no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from era_cli.errors import EraError, UsageError
from era_cli.runs import artifacts, document
from era_cli.runs.artifacts import SWEEPS
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run

LATEST = "latest"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


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


def create(runs_dir: Path, name: str | None, source: str, describe: Callable[[str], RunDocument]) -> Run:
    """Makes a new run folder with its run.json: `name`, or `source` and the next number.

    Args:
        describe: gives run.json for the name that the run got.

    Raises:
        UsageError: the name is taken or is no plain file name.
        EraError: the folder cannot be written.
    """
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        path = _make_named(runs_dir, name) if name is not None else _make_numbered(runs_dir, source)
        run = Run(path)
        run.checkpoints.mkdir()
        document.write(run.document_file, describe(run.name))
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
    except FileExistsError:  # another era process was faster
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
        except FileExistsError:  # another era process was faster
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
    """The run called `which`: a name under `runs_dir`, a path, or `latest`, the most recently started one.

    Raises:
        EraError: there is no such run.
    """
    if which == LATEST:
        return _latest(runs_dir)
    for path in (runs_dir / which, Path(which)):
        if (path / artifacts.DOCUMENT).is_file():
            return Run(path if path.name not in ("", "..") else path.resolve())
    known = ", ".join(sorted(path.parent.name for path in runs_dir.glob(f"*/{artifacts.DOCUMENT}"))) or "none"
    raise EraError(f"there is no run {which!r} under {runs_dir} (runs there: {known}): check the name or --runs-dir")


def _latest(runs_dir: Path) -> Run:
    files = list(runs_dir.glob(f"*/{artifacts.DOCUMENT}"))
    if not files:
        raise EraError(f"there is no run under {runs_dir} yet: train one with era fit, or name another --runs-dir")
    return Run(max(files, key=lambda file: (_started(file), file.parent.name)).parent)


def _started(file: Path) -> str:
    """When a run was started; of a damaged run.json when it was last written, so that no older run stands in for it."""
    try:
        started = json.loads(file.read_text(encoding="utf-8"))["started"]
        return datetime.fromisoformat(started).astimezone(UTC).isoformat()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat()


def now() -> str:
    """The time in UTC, as ISO 8601 to the microsecond."""
    return datetime.now(UTC).isoformat()
