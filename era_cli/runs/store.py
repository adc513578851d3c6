"""Runs in their folder: create, find, and the most recent one. Loads no torch."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from era_cli.errors import EraError, UsageError
from era_cli.files import TEMPORARY_SUFFIX, sync_folder
from era_cli.runs import artifacts, document
from era_cli.runs.artifacts import SWEEPS
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run

LATEST = "latest"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(runs_dir: Path, name: str | None, *, overwrite: bool = False) -> None:
    """Refuses a name before hours of loading rather than after.

    Args:
        overwrite: a run of that name may be replaced.

    Raises:
        UsageError: the name is taken or is not a plain file name, or what is to be replaced is not a run.
        EraError: the run to be replaced is in use.
    """
    if name is None:
        return
    if not _NAME.fullmatch(name) or name in (LATEST, SWEEPS):
        raise UsageError(
            f"--name {name!r} cannot name a run: use up to 100 letters, digits, dots, dashes and underscores"
            f" (and not {LATEST!r} or {SWEEPS!r})"
        )
    path = runs_dir / name
    if not path.exists():
        return
    if not overwrite:
        raise UsageError(
            f"{path} already exists: choose another --name, continue it with --resume, or replace it with --overwrite"
        )
    if not (path / artifacts.DOCUMENT).is_file():
        raise UsageError(
            f"{path} is not a run folder (it has no {artifacts.DOCUMENT}), so --overwrite leaves it alone: choose"
            " another --name"
        )
    with Run(path).lock():  # refuses a run that is being trained
        pass


def create(
    runs_dir: Path,
    name: str | None,
    source: str,
    describe: Callable[[str], RunDocument],
    *,
    overwrite: bool = False,
) -> Run:
    """Makes a new run folder with its run.json: `name`, or `source` and the next number.

    Args:
        describe: gives run.json for the name that the run got.
        overwrite: a run of that name is replaced.

    Raises:
        UsageError: the name is taken or is not a plain file name, or what is to be replaced is not a run.
        EraError: the folder cannot be written, or the run to be replaced is in use.
    """
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        if overwrite and name is not None and (runs_dir / name).exists():
            return _replace(runs_dir, name, describe(name))
        path = _make_named(runs_dir, name) if name is not None else _make_numbered(runs_dir, source)
        return _fill(path, describe(path.name))
    except OSError as error:
        raise EraError(
            f"no run can be written under {runs_dir} ({error.strerror or error}): choose another --runs-dir"
        ) from error


def free_stem(folder: Path, stem: str) -> Path:
    """`folder/stem-N` with the lowest N above those of any file or folder there, whatever its suffix."""
    stem = _plain(stem)
    return folder / f"{stem}-{_next_number(folder, stem)}"


def _fill(path: Path, described: RunDocument) -> Run:
    run = Run(path)
    run.checkpoints.mkdir()
    document.write(run.document_file, described)
    return run


def _replace(runs_dir: Path, name: str, described: RunDocument) -> Run:
    """A new run in place of the one called `name`, which is there, whole, until the new one can take its place."""
    check_name(runs_dir, name, overwrite=True)
    path, replaced = runs_dir / name, runs_dir / f".{name}.replaced"
    shutil.rmtree(replaced, ignore_errors=True)  # what a crash below left behind
    new = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=TEMPORARY_SUFFIX, dir=runs_dir))
    try:
        new.chmod(path.stat().st_mode)  # mkdtemp makes folders private
        _fill(new, described)
        path.rename(replaced)  # a folder that is not empty cannot be renamed over
        try:
            new.rename(path)
        except OSError:
            replaced.rename(path)
            raise
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    sync_folder(runs_dir)
    shutil.rmtree(replaced, ignore_errors=True)
    return Run(path)


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
    raise EraError(
        f"there is no run {which!r} under {runs_dir} (runs there: {_known(runs_dir)}): check the name or --runs-dir"
    )


def find_all(runs_dir: Path, which: str) -> list[Run]:
    """The run that `find` gives or, if `which` is a pattern like `sweep-*`, every run in `runs_dir` whose name matches.

    These are sorted by name, the numbers in it by value.

    Raises:
        EraError: there is no such run.
    """
    if not set(which) & set("*?["):
        return [find(runs_dir, which)]
    paths = [file.parent for file in _documents(runs_dir) if fnmatch.fnmatchcase(file.parent.name, which)]
    if not paths:
        raise EraError(
            f"no run under {runs_dir} matches {which!r} (runs there: {_known(runs_dir)}): check the pattern or"
            " --runs-dir"
        )
    return [Run(path) for path in sorted(paths, key=lambda path: _natural(path.name))]


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _known(runs_dir: Path) -> str:
    return ", ".join(sorted((path.parent.name for path in _documents(runs_dir)), key=_natural)) or "none"


def _latest(runs_dir: Path) -> Run:
    files = _documents(runs_dir)
    if not files:
        raise EraError(f"there is no run under {runs_dir} yet: train one with era fit, or name another --runs-dir")
    return Run(max(files, key=lambda file: (_started(file), file.parent.name)).parent)


def _documents(runs_dir: Path) -> list[Path]:
    """The run.json of every run; a hidden folder is one that is being replaced."""
    return [file for file in runs_dir.glob(f"*/{artifacts.DOCUMENT}") if not file.parent.name.startswith(".")]


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
