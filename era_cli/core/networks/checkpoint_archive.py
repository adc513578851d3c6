"""What a checkpoint's archive may hold: checked without running or unpacking any of it."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

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


class Foreign(Exception):
    """What in a checkpoint is not of the kind that era writes."""


def check(content: bytes) -> None:
    """Refuses what could take more memory than `content` itself, or run code.

    Raises:
        Foreign: it holds what era does not write.
        Exception: it is damaged, in any of the ways that zipfile and pickle know.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        _check(archive, len(content))


def _check(archive: zipfile.ZipFile, size: int) -> None:
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size for entry in entries):
        raise Foreign("it is compressed")
    if sum(entry.file_size for entry in entries) > size or len({entry.filename for entry in entries}) < len(entries):
        raise zipfile.BadZipFile("its parts overlap")
    if (bad := archive.testzip()) is not None:  # torch.load does not check the sums
        raise zipfile.BadZipFile(f"{bad} fails its checksum")
    (pickled,) = (entry.filename for entry in entries if entry.filename.endswith("data.pkl"))
    content = archive.read(pickled)
    for opcode, _, _ in pickletools.genops(content):
        if opcode.name not in _OPCODES:
            raise Foreign(f"the pickle operation {opcode.name}")
    _Inventory(archive, pickled, content).load()


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
        raise Foreign("an OrderedDict that is not built item by item")
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
        raise Foreign(f"{module}.{name}"[:80])

    def persistent_load(self, pid: Any) -> Any:
        """Checks that a storage is as large as it says: older versions of torch believe it."""
        _, kind, key, _, count = pid
        if self._archive.getinfo(f"{self._folder}data/{key}").file_size != count * _ITEM_BYTES[kind]:
            raise ValueError(f"tensor {key} does not have the size that it states")
        return _Storage(count)

    def _check_keys(self, keys: Sequence[object]) -> None:
        """Keys are names and numbers: a tuple nested sixty deep takes years to hash."""
        if not all(isinstance(key, str | int) for key in keys):
            raise Foreign("a key that is neither a name nor a number")

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
