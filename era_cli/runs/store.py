"""Runs in their folder: create, find, and the most recent one. Loads no torch."""

from __future__ import annotations

import contextlib
import glob
import itertools
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from era_cli.errors import EraError, UsageError
from era_cli.files import ORPHAN_AGE, make_durable_folder, sync_folder, umask
from era_cli.regular_file import read_regular
from era_cli.runs import artifacts, document, replacement
from era_cli.runs.artifacts import SWEEPS
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run
from era_cli.text import quoted

LATEST = "latest"
_UNFINISHED = ".creating"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(runs_dir: Path, name: str | None, *, overwrite: bool = False) -> None:
    """Refuses a name before hours of loading rather than after.

    Args:
        overwrite: a run of that name may be replaced.

    Raises:
        UsageError: the name is taken or is not a plain file name, or what is to be replaced is a link or not a run.
        EraError: the run to be replaced is in use.
    """
    if name is None:
        return
    if not _NAME.fullmatch(name) or name in (LATEST, SWEEPS):
        raise UsageError(
            f"--name {quoted(name)} cannot name a run: use up to 100 letters, digits, dots, dashes and underscores"
            f" (and not {LATEST!r} or {SWEEPS!r})"
        )
    replacement.put_back(runs_dir)
    path = runs_dir / name
    if not _taken(path):
        return
    if not overwrite:
        raise _is_taken(path)
    if path.is_symlink():
        raise UsageError(f"{path} is a link, and --overwrite replaces only folders: remove it or choose another --name")
    try:
        Run(path).read()
    except EraError as error:
        raise UsageError(
            f"--overwrite replaces only a run that era can read ({error}): choose another --name"
        ) from error
    replacement.refuse_if_in_use(path)


def create(
    runs_dir: Path,
    name: str | None,
    source: str,
    describe: Callable[[str], RunDocument],
    *,
    overwrite: bool = False,
) -> Run:
    """Makes a new run folder with its run.json: `name`, or `source` and the next number.

    It appears with its run.json or not at all. A run that is overwritten stays where it is and as it is until
    `replacement.take_place`; until then the new one has a hidden folder, which `replacement.discard` removes, or the
    next overwriting if the process was killed.

    Args:
        describe: gives run.json for the name that the run got.
        overwrite: a run of that name is to be replaced.

    Raises:
        UsageError: the name is taken or is not a plain file name, or what is to be replaced is a link or not a run.
        EraError: the folder cannot be written, or the run to be replaced is in use.
    """
    with replacement.explained(runs_dir):
        make_durable_folder(runs_dir)
        if overwrite and name is not None and _taken(runs_dir / name):
            check_name(runs_dir, name, overwrite=True)
            hidden = Run(replacement.make_hidden(runs_dir / name), replaces=runs_dir / name)
            with _removed_on_failure(hidden.path):
                hidden.checkpoints.mkdir()
                document.write(hidden.document_file, describe(name))
            return hidden
        check_name(runs_dir, name)
        _sweep_unfinished(runs_dir)
        unfinished = Run(Path(tempfile.mkdtemp(prefix=".", suffix=_UNFINISHED, dir=runs_dir)))
        with _removed_on_failure(unfinished.path):
            unfinished.path.chmod(0o777 & ~umask())  # mkdtemp makes folders private
            unfinished.checkpoints.mkdir()
            for path in [runs_dir / name] if name is not None else _numbered(runs_dir, _plain(source)):
                document.write(unfinished.document_file, describe(path.name))
                if _renamed(unfinished.path, path):
                    sync_folder(runs_dir)
                    return Run(path)
            raise _is_taken(runs_dir / str(name))  # another era process was faster


def _numbered(runs_dir: Path, stem: str) -> Iterator[Path]:
    for number in itertools.count(_next_number(runs_dir, stem)):
        yield runs_dir / f"{stem}-{number}"


def _renamed(folder: Path, path: Path) -> bool:
    """Renames the folder, so that `path` appears with all that is in it; False if `path` is another process's."""
    try:
        folder.rename(path)
    except OSError:
        if path.exists():
            return False
        raise
    return True


@contextlib.contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _sweep_unfinished(runs_dir: Path) -> None:
    """Removes what processes left that were killed while they made a run; none of it is younger than ORPHAN_AGE."""
    for folder in runs_dir.glob(f".*{_UNFINISHED}"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > ORPHAN_AGE:
                shutil.rmtree(folder, ignore_errors=True)


def free_stem(folder: Path, stem: str) -> Path:
    """`folder/stem-N` with the lowest N above those of any file or folder there, whatever its suffix."""
    stem = _plain(stem)
    return folder / f"{stem}-{_next_number(folder, stem)}"


def _taken(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _is_taken(path: Path) -> UsageError:
    return UsageError(
        f"{path} already exists: choose another --name, continue it with --resume, or replace it with --overwrite"
    )


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
    if (run := _called(runs_dir, which)) is not None:
        return run
    raise EraError(
        f"there is no run {quoted(which)} under {runs_dir} (runs there: {_known(runs_dir)}): check the name or"
        " --runs-dir"
    )


def find_all(runs_dir: Path, which: str) -> list[Run]:
    """The run that `find` gives or, if there is none, every run that matches the pattern `which`.

    That is a pattern of names under `runs_dir`, like `sweep-*`, or of paths, like `runs/sweep-*`. The runs are sorted
    by path, the numbers in it by value.

    Raises:
        EraError: there is no such run.
    """
    if not set(which) & set("*?[") or _called(runs_dir, which) is not None:
        return [find(runs_dir, which)]
    for folder in (runs_dir, Path()):
        # Path.glob takes no absolute pattern and finds hidden folders.
        paths = [folder / name for name in glob.glob(which, root_dir=folder)]  # noqa: PTH207
        if runs := [Run(path) for path in sorted(paths, key=natural) if (path / artifacts.DOCUMENT).is_file()]:
            return runs
    raise EraError(
        f"no run under {runs_dir} matches {quoted(which)} (runs there: {_known(runs_dir)}): check the pattern or"
        " --runs-dir"
    )


def _called(runs_dir: Path, which: str) -> Run | None:
    for path in (runs_dir / which, Path(which)):
        replacement.put_back(path.parent)
        if (path / artifacts.DOCUMENT).is_file():
            return Run(path if path.name not in ("", "..") else path.resolve())
    return None


def natural(name: Path | str) -> list[str | int]:
    """A key that sorts names by the value of the numbers in them."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(name))]


def _known(runs_dir: Path) -> str:
    names = sorted((file.parent.relative_to(runs_dir) for file in _documents(runs_dir)), key=natural)
    return ", ".join(map(str, names)) or "none"


def _latest(runs_dir: Path) -> Run:
    files = _documents(runs_dir)
    if not files:
        _refuse_unreadable(runs_dir)
        raise EraError(f"there is no run under {runs_dir} yet: train one with era fit, or name another --runs-dir")
    return Run(max(files, key=lambda file: (started(file), file.parent.name)).parent)


def _refuse_unreadable(runs_dir: Path) -> None:
    """Names a folder that may be a run but cannot be entered: a glob passes over it."""
    for folder in runs_dir.glob("*/"):
        try:
            (folder / artifacts.DOCUMENT).stat()
        except PermissionError as error:
            raise EraError(f"{folder} cannot be read ({error.strerror}): check its permissions") from error
        except OSError:
            continue


def folders(runs_dir: Path) -> list[Path]:
    """The folder of every run, by name; one that cannot be entered may be a run, and is among them.

    Raises:
        OSError: the folder of the runs cannot be read.
    """
    if not runs_dir.exists():
        return []
    replacement.put_back(runs_dir)
    paths = (path for path in runs_dir.iterdir() if not path.name.startswith(".") and path.name != SWEEPS)
    return sorted((path for path in paths if _may_be_run(path)), key=natural)


def _may_be_run(folder: Path) -> bool:
    try:
        (folder / artifacts.DOCUMENT).stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _documents(runs_dir: Path) -> list[Path]:
    """The run.json of every run; a hidden folder is one that is to replace another, or is being replaced."""
    replacement.put_back(runs_dir)
    return [file for file in runs_dir.glob(f"*/{artifacts.DOCUMENT}") if not file.parent.name.startswith(".")]


def started(file: Path) -> str:
    """When a run was started; of a damaged run.json when it was last written, so that no older run stands in for it.

    Nothing, which comes before every time, of what cannot be a run's: a pipe, a device, a file of gigabytes.
    """
    try:
        content = read_regular(file, document.MOST)
    except PermissionError:
        content = b""
    except OSError:
        return ""
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return datetime.fromisoformat(json.loads(content)["started"]).astimezone(UTC).isoformat()
    with contextlib.suppress(OSError, ValueError, OverflowError):  # deleted meanwhile, or of the year 33658
        return datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat()
    return ""


def now() -> str:
    """The time in UTC, as ISO 8601 to the microsecond."""
    return datetime.now(UTC).isoformat()
