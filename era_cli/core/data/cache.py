"""Decoded images in the user's cache: written once and then mapped, so that they need not fit into memory."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs

from era_cli.results import Images, Labels

FORMAT = 2  # to be raised when entries are laid out otherwise, or the same files would decode otherwise
_IMAGES, _NUMBERS, _META = "images.bin", "numbers.bin", "meta.json"
_BUILDING = ".building-"
_ORPHANED_AFTER = 86_400.0  # seconds; a day is longer than any decoding
_FORGOTTEN_AFTER = 60 * 86_400.0  # since it was last read: its files may long be gone


class Decoded(NamedTuple):
    """Images (N, 3, side, side) uint8, a number for each of them (N,) int64, and words that go with them all."""

    images: Images
    numbers: Labels
    words: tuple[str, ...]


# Hands the images to what it is given, some (K, 3, side, side) at a time, and returns their numbers and words.
Decode = Callable[[Callable[[Images], object]], tuple[Labels, tuple[str, ...]]]


def default_dir() -> Path:
    """Where decoded images are kept."""
    return Path(platformdirs.user_cache_dir("era")) / "decoded"


def facts(path: Path) -> tuple[int, ...]:
    """What tells a file from its former self without reading it.

    The change time is in it because it, unlike the modification time, cannot be set back.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def read(entry: Path, side: int) -> Decoded | None:
    """What `write` left in `entry`; None if there is nothing, or it is damaged, and then it is removed."""
    if not entry.is_dir():
        return None
    try:
        meta = json.loads((entry / _META).read_text(encoding="utf-8"))
        numbers = np.fromfile(entry / _NUMBERS, np.int64)
        found = Decoded(_map(entry, len(numbers), side), numbers, tuple(meta["words"]))
        if _checksum(found.words, numbers, zlib.crc32(found.images.data)) != meta["crc32"]:
            raise ValueError("damaged")
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        shutil.rmtree(entry, ignore_errors=True)
        return None
    except OSError:  # it cannot be read now, or not by this person
        return None
    with contextlib.suppress(OSError):
        os.utime(entry)
    return found


def begin(cache_dir: Path) -> Path:
    """An empty folder for `write` in `cache_dir`, which is era's alone: what is stale in it is removed.

    Raises:
        OSError: it cannot be made.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        _sweep(cache_dir)
    return Path(tempfile.mkdtemp(prefix=_BUILDING, dir=cache_dir))


def _sweep(cache_dir: Path) -> None:
    """Removes what a killed era left half built, and what nobody has read for long."""
    for path in cache_dir.iterdir():
        limit = _ORPHANED_AFTER if path.name.startswith(_BUILDING) else _FORGOTTEN_AFTER
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > limit:
                shutil.rmtree(path)


def write(building: Path, entry: Path, side: int, decode: Decode) -> Decoded:
    """Decodes into `building`, which becomes `entry`; an exception leaves nothing half built.

    Raises:
        OSError: the images cannot be written.
    """
    try:
        # Written as a stream, not through a memory map: a full disk under a map kills the process.
        with (building / _IMAGES).open("wb") as file:
            numbers, words = decode(lambda images: file.write(images.tobytes()))
        numbers.tofile(building / _NUMBERS)
        checksum = _checksum(words, numbers, zlib.crc32(_map(building, len(numbers), side).data))
        (building / _META).write_text(json.dumps({"words": words, "crc32": checksum}), encoding="utf-8")
        home = entry
        try:
            building.rename(entry)
        except OSError:  # another era was faster; what is mapped stays readable when its name is gone
            home = building
        return Decoded(_map(home, len(numbers), side), numbers, words)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def in_memory(decode: Decode) -> Decoded:
    """Decodes without keeping anything."""
    pieces: list[Images] = []
    numbers, words = decode(pieces.append)
    return Decoded(np.concatenate(pieces), numbers, words)


def _checksum(words: tuple[str, ...], numbers: Labels, of_images: int) -> int:
    return zlib.crc32(json.dumps(words).encode(), zlib.crc32(numbers.tobytes(), of_images))


def _map(entry: Path, count: int, side: int) -> Images:
    # Copy on write: torch wants writable memory, and the pages stay the system's to drop.
    return np.memmap(entry / _IMAGES, np.uint8, "c", shape=(count, 3, side, side))
