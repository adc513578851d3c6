"""Decoded images in the user's cache: written once, then memory-mapped, so that they need not fit into memory."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs

from era_cli.errors import EraError
from era_cli.files import atomic_write_text
from era_cli.regular_file import open_regular, read_regular
from era_cli.results import Images, Labels

FORMAT = 4  # raise it when the layout of an entry changes, or when the same files would decode differently
_IMAGES, _INTEGERS, _META, _HASH = "images.bin", "integers.bin", "meta.json", "hash-"
_BUILDING = ".building-"
_LARGEST_TEXTS = 1 << 30  # bytes of meta.json, which names every image that cannot be read
_ORPHAN_AGE = 86_400.0  # seconds; no decoding takes a day
_UNUSED_AGE = 60 * 86_400.0  # seconds since it was last read: its source may be long gone


@dataclass(frozen=True)
class ContentHashes:
    """The content hashes stored in `entry`, one small file each: one entry can serve several splits.

    A hash counts only for the pixels that it was computed from, those of an entry with this `crc32`.
    """

    entry: Path
    crc32: int

    def get(self, key: str) -> str | None:
        """The hash stored under `key`; None if there is none, or it is damaged or unreadable."""
        try:
            content_hash, checksum = read_regular(self.entry / f"{_HASH}{key}", 1000).decode("ascii").split()
        except (OSError, ValueError):
            return None
        return content_hash if checksum == self._checksum(key, content_hash) else None

    def put(self, key: str, content_hash: str) -> None:
        """Stores the hash under `key`, if the entry is writable."""
        with contextlib.suppress(EraError):
            text = f"{content_hash} {self._checksum(key, content_hash)}\n"
            atomic_write_text(self.entry / f"{_HASH}{key}", text)

    def _checksum(self, key: str, content_hash: str) -> str:
        return str(zlib.crc32(f"{key} {content_hash}".encode(), self.crc32))


class Decoded(NamedTuple):
    """A source's images (N, 3, side, side) uint8, with what it wants back beside them.

    `integers` (N,) int64 holds one value per image; each source names what its integers and texts mean.
    `hashes` is None for images that are not cached.
    """

    images: Images
    integers: Labels
    texts: tuple[str, ...]
    hashes: ContentHashes | None


# Passes images (K, 3, side, side) to its argument, a few at a time, and returns their integers and texts.
Decode = Callable[[Callable[[Images], object]], tuple[Labels, tuple[str, ...]]]


def default_dir() -> Path:
    """Where decoded images are cached."""
    return Path(platformdirs.user_cache_dir("era")) / "decoded"


def file_state(path: Path) -> tuple[int, ...]:
    """Changes whenever the file is written to or replaced, without reading it.

    Includes the change time because, unlike the modification time, it cannot be set back.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def read(entry: Path, side: int) -> Decoded | None:
    """What `write` left in `entry`; None if it is absent or unreadable, or damaged, in which case it is removed.

    An entry that another user could have written counts as absent: anyone can make its checksum match.
    """
    try:
        if not _only_ours(entry.parent.stat()) or not _only_ours(entry.lstat()):
            return None
        meta = json.loads(read_regular(entry / _META, _LARGEST_TEXTS))
        with open_regular(entry / _INTEGERS) as file:
            integers, texts = np.fromfile(file, np.int64), tuple(meta["texts"])
        images = _map(entry, len(integers), side)
        crc32 = _crc32(images, integers, texts)
        if crc32 != meta["crc32"]:
            raise ValueError("damaged")
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        shutil.rmtree(entry, ignore_errors=True)
        return None
    except OSError:  # not readable now, or not by this user, as may be the folder that it is in
        return None
    with contextlib.suppress(OSError):
        os.utime(entry)
    return Decoded(images, integers, texts, ContentHashes(entry, crc32))


def begin(cache_dir: Path) -> Path:
    """An empty folder for `write` in `cache_dir`; stale entries are removed on the way.

    Raises:
        OSError: it cannot be created, or others can write to `cache_dir`.
    """
    cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _only_ours(cache_dir.stat()):
        _close_to_others(cache_dir)
    with contextlib.suppress(OSError):
        _sweep(cache_dir)
    return Path(tempfile.mkdtemp(prefix=_BUILDING, dir=cache_dir))


def _close_to_others(cache_dir: Path) -> None:
    """Takes away the others' permission to write, and removes the entries that they may have exchanged.

    Raises:
        OSError: the folder is another user's, or its file system knows no such permissions.
    """
    if not _ours(cache_dir.stat()):
        raise OSError(errno.EPERM, "it belongs to another user", str(cache_dir))
    cache_dir.chmod(0o700)  # made under a umask that lets the group write
    if not _only_ours(cache_dir.stat()):
        raise OSError(errno.EPERM, "other users can write to it", str(cache_dir))
    for path in cache_dir.iterdir():
        if not path.name.startswith(_BUILDING):  # another process may be decoding into it
            shutil.rmtree(path, ignore_errors=True)


def _only_ours(status: os.stat_result) -> bool:
    """Whether only this user can write to a folder."""
    return _ours(status) and (os.name == "nt" or not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _ours(status: os.stat_result) -> bool:
    return os.name == "nt" or (stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid())


def _sweep(cache_dir: Path) -> None:
    """Removes what a killed process left unfinished, and what has long been unused."""
    for path in cache_dir.iterdir():
        limit = _ORPHAN_AGE if path.name.startswith(_BUILDING) else _UNUSED_AGE
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > limit:
                shutil.rmtree(path)


def write(building: Path, entry: Path, side: int, decode: Decode) -> Decoded:
    """Decodes into `building` and renames it to `entry`; an exception leaves nothing behind.

    Raises:
        OSError: the images cannot be written.
    """
    try:
        # Written as a stream, not through a memory map: a full disk under a map kills the process.
        with (building / _IMAGES).open("wb") as file:
            integers, texts = decode(lambda images: file.write(images.tobytes()))
        (building / _INTEGERS).write_bytes(integers.tobytes())
        crc32 = _crc32(_map(building, len(integers), side), integers, texts)
        (building / _META).write_text(json.dumps({"texts": texts, "crc32": crc32}), encoding="utf-8")
        folder = entry
        try:
            building.rename(entry)
        except OSError:  # another process was faster; what is mapped stays readable after it is removed
            folder = building
        return Decoded(_map(folder, len(integers), side), integers, texts, ContentHashes(entry, crc32))
    finally:
        shutil.rmtree(building, ignore_errors=True)


def in_memory(decode: Decode) -> Decoded:
    """Decodes without caching.

    Raises:
        EraError: the images do not fit into memory.
    """
    chunks: list[Images] = []
    try:
        integers, texts = decode(chunks.append)
        return Decoded(np.concatenate(chunks), integers, texts, None)
    except MemoryError as error:
        raise EraError(
            "the decoded images do not fit into memory, and cannot be cached: use a smaller --image-size, or free some"
            f" disk space for {default_dir()}"
        ) from error


def _crc32(images: Images, integers: Labels, texts: tuple[str, ...]) -> int:
    return zlib.crc32(json.dumps(texts).encode(), zlib.crc32(integers.tobytes(), zlib.crc32(images.data)))


def _map(entry: Path, count: int, side: int) -> Images:
    # Copy on write: torch wants writable memory, and the system can still drop the pages.
    with open_regular(entry / _IMAGES) as file:
        return np.memmap(file, np.uint8, "c", shape=(count, 3, side, side))
