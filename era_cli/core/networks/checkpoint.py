"""Checkpoints of a run: written whole, verified, and loaded as tensors and plain values only.

`last.ckpt` is the most recent state, `previous.ckpt` the one before it, should the last be damaged,
`best.ckpt` the state after the best epoch so far. All three are full training states. Loads no
lightning.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

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

# What torch.save writes of dictionaries, lists, numbers, texts and tensors (pickle protocol 2). Others can ask for any
# amount of memory.
_WRITTEN = (
    "PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID BINPUT LONG_BINPUT BINGET LONG_BINGET"
    " EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3"
    " NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE"
)
_OPCODES = frozenset(_WRITTEN.split())


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
    content = archive.read(pickled)
    for opcode, _, _ in pickletools.genops(content):
        if opcode.name not in _OPCODES:
            raise _Foreign(f"the pickle operation {opcode.name}")
    _Inventory(archive, pickled, content).load()


class _Foreign(Exception):
    """What in a checkpoint is not of the kind that era writes."""


class _Storage(NamedTuple):
    """Stands for a storage of so many numbers that is not loaded."""

    numbers: int


class _Tensor:
    """Stands for a tensor that is not rebuilt; one larger than its storage, by strides of 0, is refused."""

    def __init__(self, storage: _Storage, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> None:
        last = offset + sum((most - 1) * step for most, step in zip(size, stride, strict=True))
        if min((offset, *size, *stride)) < 0 or math.prod(size) > storage.numbers or last >= max(1, storage.numbers):
            raise ValueError("a tensor is larger than its storage")


def _ordered_dict(*arguments: object) -> OrderedDict[Any, Any]:
    if arguments:
        raise _Foreign("an OrderedDict that is not built item by item")
    return OrderedDict()


# The pure Python one: C's allocates whatever the index of a memo asks for.
class _Inventory(pickle._Unpickler):
    """Goes through the pickle in an archive without making a tensor, and refuses what is not made of tensors."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, archive: zipfile.ZipFile, name: str, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self._archive = archive
        self._folder = name.removesuffix("data.pkl")

    def find_class(self, module: str, name: str) -> Any:
        """What a tensor is rebuilt with, as a placeholder."""
        if (module, name) == ("collections", "OrderedDict"):
            return _ordered_dict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _ITEM_BYTES:
            return name
        raise _Foreign(f"{module}.{name}"[:80])

    def persistent_load(self, pid: Any) -> Any:
        """Checks that a storage is as large as it says: older versions of torch believe it."""
        _, kind, key, _, count = pid
        if self._archive.getinfo(f"{self._folder}data/{key}").file_size != count * _ITEM_BYTES[kind]:
            raise ValueError(f"tensor {key} does not have the size that it states")
        return _Storage(count)

    def _check_keys(self, keys: Sequence[object]) -> None:
        """Keys are names and numbers: a tuple nested sixty deep takes years to hash."""
        if not all(isinstance(key, str | int) for key in keys):
            raise _Foreign("a key that is neither a name nor a number")

    def load_setitem(self) -> None:
        """One item of a dictionary."""
        self._check_keys(self.stack[-2:-1])  # type: ignore[attr-defined] # the stubs know only C's
        super().load_setitem()  # type: ignore[misc]

    def load_setitems(self) -> None:
        """Several items of a dictionary."""
        self._check_keys(self.stack[::2])  # type: ignore[attr-defined]
        super().load_setitems()  # type: ignore[misc]

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems


def digest(path: Path) -> str:
    """SHA-256 of the checkpoint's file.

    Raises:
        EraError: it is absent.
    """
    return sha256(read_bytes(path))


def sha256(content: bytes) -> str:
    """SHA-256 of a checkpoint's bytes, by which stored predictions know their weights."""
    return hashlib.sha256(content).hexdigest()
