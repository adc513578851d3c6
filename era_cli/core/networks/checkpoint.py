"""Checkpoints of a run: written whole, verified, and loaded as tensors and plain values only.

`last.ckpt` is the most recent state, `previous.ckpt` the one before it, should the last be damaged,
`best.ckpt` the state after the best epoch so far. All three are full training states. Loads no
lightning.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from era_cli.errors import EraError
from era_cli.files import atomic_link, atomic_write, read_regular
from era_cli.runs.artifacts import BEST, LAST, PREVIOUS

MOST = 1_000_000_000  # bytes of a checkpoint: ten times that of the default network with Adam

_ITEM_BYTES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
}


def write(state: Mapping[str, Any], path: Path) -> None:
    """Writes a training state to `path`, whole or not at all.

    It is serialised in memory first: torch's own writer hides why a disk refused it.

    Raises:
        EraError: the disk refused it; what was there is as before.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def keep_previous(folder: Path) -> None:
    """Keeps the newest state under its second name before it is replaced."""
    if (folder / LAST).exists():
        atomic_link(folder / LAST, folder / PREVIOUS)


def mark_best(folder: Path) -> None:
    """Keeps the newest state as the best one, too."""
    atomic_link(folder / LAST, folder / BEST)


def read(path: Path) -> dict[str, Any]:
    """The training state at `path`, on the CPU.

    Raises:
        EraError: it is absent, damaged, or holds anything but tensors and plain values.
    """
    return parse(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """The checkpoint's file as it is.

    Raises:
        EraError: it is absent, not a file, too large for a checkpoint, or cannot be read.
    """
    try:
        return read_regular(path, MOST)
    except FileNotFoundError:
        raise EraError(f"there is no checkpoint {path}") from None
    except OSError as error:
        raise EraError(f"the checkpoint {path} cannot be read ({error.strerror or error})") from error


def parse(content: bytes, path: Path) -> dict[str, Any]:
    """The training state in `content`, which was read from `path`.

    Raises:
        EraError: it is damaged, or holds anything but tensors and plain values.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_archive(archive, len(content))
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except _Foreign as error:
        raise EraError(
            f"the checkpoint {path} holds more than tensors and numbers ({error}), so it is not era's: it was not"
            " loaded"
        ) from error
    except MemoryError as error:
        raise EraError(f"memory ran out while the checkpoint {path} was read: close other programs") from error
    except Exception as error:  # a damaged file makes zipfile, pickle and torch raise all sorts of errors
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EraError(f"the checkpoint {path} is damaged ({reason})") from error
    if not isinstance(state, dict) or not isinstance(state.get("state_dict"), Mapping):
        raise EraError(f"the checkpoint {path} is not era's: it has no state_dict")
    return state


def _check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Refuses what could take more memory than the file of `size` bytes, or run code, before any of it is unpacked."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size for entry in entries):
        raise _Foreign("it is compressed")
    if sum(entry.file_size for entry in entries) > size or len({entry.filename for entry in entries}) < len(entries):
        raise zipfile.BadZipFile("its parts overlap")
    if (bad := archive.testzip()) is not None:  # torch.load does not check the sums
        raise zipfile.BadZipFile(f"{bad} fails its checksum")
    (pickled,) = (entry.filename for entry in entries if entry.filename.endswith("data.pkl"))
    _Inventory(archive, pickled).load()


class _Foreign(Exception):
    """What in a checkpoint is not of the kind that era writes."""


class _Placeholder:
    """Stands for a tensor or a storage that is not loaded."""

    def __init__(self, *arguments: object) -> None:
        pass


# The pure Python one: C's allocates whatever the index of a memo asks for.
class _Inventory(pickle._Unpickler):
    """Goes through the pickle in an archive without making a tensor, and refuses what is not made of tensors."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        super().__init__(io.BytesIO(archive.read(name)))
        self._archive = archive
        self._folder = name.removesuffix("data.pkl")

    def find_class(self, module: str, name: str) -> Any:
        """What a tensor is rebuilt with, as a placeholder."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Placeholder
        if module == "torch" and name in _ITEM_BYTES:
            return name
        raise _Foreign(f"{module}.{name}"[:80])

    def persistent_load(self, pid: Any) -> Any:
        """Checks that a storage is as large as it says: older versions of torch believe it."""
        _, kind, key, _, count = pid
        if self._archive.getinfo(f"{self._folder}data/{key}").file_size != count * _ITEM_BYTES[kind]:
            raise ValueError(f"tensor {key} has another size than it says")
        return _Placeholder()


def digest(path: Path) -> str:
    """SHA-256 of the checkpoint's file.

    Raises:
        EraError: it is absent.
    """
    return sha256(read_bytes(path))


def sha256(content: bytes) -> str:
    """SHA-256 of a checkpoint's bytes, by which stored predictions know their weights."""
    return hashlib.sha256(content).hexdigest()
