"""A bound on the memory of one process, as real as the system allows.

On Linux a temporary control group bounds all its memory, the cached pages of files included, which the system takes
back when it needs them; swap is off. That takes root, and a hierarchy that hands the memory controller on. Elsewhere
the process is watched from outside, and killed when its anonymous memory (which no file backs) is larger.

RLIMIT_DATA would not do: Linux counts a private writable mapping of a file as data, and era's cache of decoded images
is mapped so, though it takes no memory that the system could not have back.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNTS, OWN_GROUPS = Path("/proc/self/mountinfo"), Path("/proc/self/cgroup")
_PATIENCE = 5.0  # seconds for a group to notice that its last process is gone


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a process is bound by: a group to `join` by writing its id to that file, or a watch; `how` for people."""

    how: str
    join: Path | None = None
    most_anonymous: int | None = None


@contextlib.contextmanager
def limited_to(size: int) -> Iterator[Limit]:
    """A limit of `size` bytes for processes that run within the block."""
    group = _group(size)
    if group is None:
        how = "killed by a watch once its anonymous memory is larger: no control group could be made here"
        yield Limit(how=how, most_anonymous=size)
        return
    folder, how = group
    try:
        yield Limit(how=how, join=folder / "cgroup.procs")
    finally:
        _remove(folder)


def _group(size: int) -> tuple[Path, str] | None:
    """A new control group of `size` bytes and its kind, or None where none can be made."""
    candidates = [(parent, "v2", "memory.max", "memory.swap.max", 0) for parent in _second()]
    candidates += [(parent, "v1", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", size) for parent in _first()]
    for parent, version, bound, swap, most_swapped in candidates:
        folder = parent / f"era-benchmark-{os.getpid()}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            try:
                (folder / bound).write_text(str(size), encoding="ascii")
                bounds_swap = (folder / swap).exists()  # absent where the system does not count it
                if bounds_swap:
                    (folder / swap).write_text(str(most_swapped), encoding="ascii")
                return folder, f"control group {version}, {bound}" + (", no swap" if bounds_swap else "")
            except OSError:
                _remove(folder)
                raise
    return None


def _second() -> Iterator[Path]:
    """Version 2: this process's group and those above it, as far as they hand the memory controller on."""
    for mount in _mounts("cgroup2", ""):
        own = mount / _own_group("")
        for folder in (own, *own.parents):
            if not folder.is_relative_to(mount):
                return
            with contextlib.suppress(OSError):
                if "memory" in (folder / "cgroup.subtree_control").read_text(encoding="ascii").split():
                    yield folder


def _first() -> Iterator[Path]:
    """Version 1: this process's group in the hierarchy of memory, or what a container shows as its root."""
    for mount in _mounts("cgroup", "memory"):
        own = mount / _own_group("memory")
        yield own if own.is_dir() else mount


def _mounts(kind: str, option: str) -> Iterator[Path]:
    """Where file systems of `kind` are mounted whose options name `option`, if that is not empty."""
    with contextlib.suppress(OSError):
        for line in MOUNTS.read_text(encoding="utf-8").splitlines():
            fields, _, source = line.partition(" - ")
            found, _, options = source.split(" ")
            if found == kind and (not option or option in options.split(",")):
                yield Path(fields.split(" ")[4])


def _own_group(controller: str) -> str:
    """This process's group in the hierarchy of `controller` (version 1), or of none (version 2)."""
    for line in OWN_GROUPS.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path.strip("/")
    return ""


def _remove(folder: Path) -> None:
    """Removes an empty group; the system may count its last process for a moment."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
