"""A run that replaces another: hidden until its first step, then in the other's place. Loads no torch."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from era_cli.errors import EraError
from era_cli.files import sync_folder
from era_cli.runs import artifacts
from era_cli.runs.run import Run


def make_hidden(path: Path) -> Path:
    """A folder for the run that is to replace the one at `path`."""
    hidden = _hidden(path)
    if hidden.exists():
        refuse_if_in_use(hidden)
    for left in (hidden, _aside(path)):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    hidden.mkdir()
    return hidden


def take_place(run: Run) -> None:
    """Moves a run that `store.create` made with `overwrite` to the folder of the old run, which is removed.

    The lock of the old run is held meanwhile, so that nobody resumes it. A process killed between the two renames
    leaves no run of this name; whatever looks for one next puts the old run back.

    Raises:
        EraError: the old run is in use or the folders cannot be renamed; the old run is then where it was.
    """
    if run.replaces is None:
        return
    path, aside = run.replaces, _aside(run.replaces)
    with explained(path.parent), Run(path).lock() if path.exists() else contextlib.nullcontext():
        try:
            if path.exists():
                path.rename(aside)  # a folder that is not empty cannot be renamed over
            run.path.rename(path)
        except BaseException:
            if aside.exists() and not path.exists():
                aside.rename(path)
            raise
        run.path, run.replaces = path, None
        sync_folder(path.parent)
        _remove(aside)


def discard(run: Run) -> None:
    """Removes the folder of a run that was to replace another and failed before it took its place."""
    if run.replaces is not None:
        shutil.rmtree(run.path, ignore_errors=True)


def put_back(runs_dir: Path) -> None:
    """Puts back every run that a process killed between the two renames of `take_place` left without its name.

    What one killed after them left of a replaced run is removed.
    """
    for aside in filter(_is_left, runs_dir.glob(".*.replaced")):
        path = aside.with_name(aside.name.removeprefix(".").removesuffix(".replaced"))
        with contextlib.suppress(EraError, OSError), Run(aside).lock():  # in use: it is being replaced just now
            if Run(path).document_file.is_file():
                _remove(aside)
            elif _is_run(aside) and not path.exists() and not path.is_symlink():
                aside.rename(path)


def _remove(run: Path) -> None:
    """Removes the folder of a run, run.json last: what an error leaves is still a run, to be removed next time."""
    with contextlib.suppress(OSError):
        for path in run.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != artifacts.DOCUMENT:
                path.unlink()
        sync_folder(run)  # a power cut may keep later changes and lose earlier ones
        shutil.rmtree(run)


def _is_run(folder: Path) -> bool:
    """Whether it is a run's folder: in a stranger's folder anything may have the name of one."""
    return (folder / artifacts.DOCUMENT).is_file() and not folder.is_symlink()


def _is_left(folder: Path) -> bool:
    """Whether it is a run, or what is left of one that was almost removed."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    return _is_run(folder) or {path.name for path in folder.iterdir()} <= {artifacts.LOCK}


def refuse_if_in_use(path: Path) -> None:
    """Raises EraError if another process writes to the run at `path`."""
    with Run(path).lock():
        pass


@contextlib.contextmanager
def explained(runs_dir: Path) -> Iterator[None]:
    """Says in one sentence why no run can be written."""
    try:
        yield
    except (OSError, EraError) as error:
        reason = error.__cause__ if isinstance(error, EraError) else error
        if not isinstance(reason, OSError):
            raise
        # Not the file: it lies in a hidden folder that is removed.
        raise EraError(
            f"no run can be written under {runs_dir} ({reason.strerror or reason}): free some space, fix the"
            " permissions, or choose another --runs-dir"
        ) from reason


def _hidden(path: Path) -> Path:
    """Where the run is kept that is to replace the one at `path`."""
    return path.with_name(f".{path.name}.new")


def _aside(path: Path) -> Path:
    """Where the replaced run at `path` is kept until the new one is in its place."""
    return path.with_name(f".{path.name}.replaced")
