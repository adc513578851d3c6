"""Files that are complete or absent: written beside their target, synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from era_cli.errors import EraError, UsageError

TEMPORARY_SUFFIX = ".partial"
ORPHAN_AGE = 3_600.0  # seconds; whatever is written under another name first has its own name long before
# A folder that cannot be synced at all, on some network file systems; any other error is the disk's.
_UNSYNCABLE = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM)

_FIXES = {
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ELOOP: "it is a loop of links; choose another path",
    errno.ENOENT: "its folder is gone",
    errno.EISDIR: "remove the folder of that name",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
}


def expanded(path: Path) -> Path:
    """The path with `~` replaced by the home folder.

    Raises:
        UsageError: there is no such home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise UsageError(f"{path} names a home folder that does not exist: write the path out") from None


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary file in the folder of `path`; on success it becomes `path`.

    A reader sees the old content or the new, never a part, even after a power cut: the file is
    synced before the rename and the folder after it. What a killed writer of this file left is removed.

    Raises:
        EraError: the file could not be written; `path` is then as it was.
    """
    with _explained(path):
        _sweep_old(path)
        handle, name = tempfile.mkstemp(prefix=_prefix(path), suffix=TEMPORARY_SUFFIX, dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes files private; results are as readable as the umask lets any new file be.
            temporary.chmod(0o666 & ~umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    """Writes UTF-8 `text` to `path`, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text.encode())


def atomic_write_json(path: Path, document: dict[str, Any]) -> None:
    """Writes `document` as indented JSON; NaN and infinity are refused, since JSON has neither."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a file name that is no UTF-8: escapes carry it
        text = json.dumps(document, indent=2, allow_nan=False)
    atomic_write_text(path, text + "\n")


def make_folder(path: Path) -> None:
    """Makes the folder, and those above it, where they are absent; their names are then on the disk.

    Raises:
        EraError: it cannot be made.
    """
    with _explained(path):
        make_durable_folder(path)


def make_durable_folder(path: Path) -> None:
    """What `make_folder` does, for callers with a sentence of their own.

    Raises:
        OSError: it cannot be made.
    """
    for folder in reversed((path, *path.parents)):
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)


def append_text(path: Path, text: str) -> None:
    """Adds UTF-8 `text` to the file; on return it is on the disk.

    Raises:
        EraError: the file could not be written.
    """
    with _explained(path):
        is_new = not path.exists()
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(path.parent)


def atomic_link(source: Path, target: Path) -> None:
    """Makes `target` a second name of `source`'s content, whole or not at all.

    Raises:
        EraError: it could not be made; `target` is then as it was.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    with _explained(target):
        temporary.unlink(missing_ok=True)
        try:
            temporary.hardlink_to(source)
        except OSError:  # a file system without hard links
            with atomic_write(target) as file, source.open("rb") as original:
                shutil.copyfileobj(original, file)
            return
        try:
            temporary.replace(target)
        finally:
            # Also if it worked: renaming one hard link onto another of the same file does nothing.
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)


def sweep_temporaries(folder: Path, *, age: float = 0.0) -> None:
    """Removes what killed writers left in `folder` at least `age` seconds ago.

    Without an age only for a folder to which nobody else writes.
    """
    orphans = folder.glob(f".*{TEMPORARY_SUFFIX}")
    if age:
        _remove_older(orphans, age)
    else:
        for orphan in orphans:
            orphan.unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    """How the names of temporaries of `path` begin; not with its whole name: a longer one may be too long."""
    return f".{path.name[:20]}."


def _sweep_old(path: Path) -> None:
    """Removes temporaries of `path` that nobody writes any more: no write takes an hour."""
    _remove_older(path.parent.glob(f"{glob.escape(_prefix(path))}*{TEMPORARY_SUFFIX}"), ORPHAN_AGE)


def _remove_older(orphans: Iterable[Path], age: float) -> None:
    for orphan in orphans:
        with contextlib.suppress(OSError):
            if time.time() - orphan.stat().st_mtime > age:
                orphan.unlink()


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable, where the system can.

    Raises:
        OSError: the disk failed, so that they may be lost.
    """
    if os.name == "nt":  # Windows cannot open a folder
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written but not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSYNCABLE:
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, "free some space or fix the permissions")
        raise EraError(f"{path} cannot be written ({error.strerror or error}): {fix}") from error


def umask() -> int:
    """The permissions that new files of this process lack."""
    mask = os.umask(0o077)  # what another thread makes in this moment is private, not open to all
    os.umask(mask)
    return mask
