"""The pickled files of CIFAR-10, read without trusting them: no object is made but plain values."""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any

import numpy as np

from era_cli.results import Images, Labels

SIDE = 32
CLASSES = 10
_NUMPY = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}


def batch(content: bytes) -> tuple[Images, Labels]:
    """The images (N, 3, 32, 32) uint8 and labels (N,) of a file of images.

    Raises:
        ValueError: it holds something else.
    """
    values = _dictionary(content)
    images, labels = _bytes_array(values.get(b"data")), values.get(b"labels")
    if images.ndim != 2 or images.shape[1] != 3 * SIDE**2 or not len(images):
        raise ValueError(f"its images have the shape {images.shape}")
    if not isinstance(labels, list) or len(labels) != len(images):
        raise ValueError("it does not hold a label for each image")
    if not all(type(label) is int and 0 <= label < CLASSES for label in labels):
        raise ValueError(f"its labels are not numbers from 0 to {CLASSES - 1}")
    return images.reshape(-1, 3, SIDE, SIDE), np.array(labels, np.int64)


def class_names(content: bytes) -> tuple[str, ...]:
    """The names in the file that describes the others.

    Raises:
        ValueError: it holds something else.
    """
    names = _dictionary(content).get(b"label_names")
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise ValueError("it does not hold a list of class names")
    if len(set(names)) != CLASSES or len(names) != CLASSES:
        raise ValueError(f"it does not hold {CLASSES} different class names")
    return tuple(name.decode() for name in names)


class _Inert:
    """Stands for any object of NumPy: keeps what it was called with and its state, and does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _InertUnpickler(pickle.Unpickler):
    """Unpickles plain values, and inert objects in place of NumPy's arrays: a matching MD5 does not rule out an attack.

    NumPy itself would make an array of any size that a few bytes ask for.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NUMPY:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return type(name, (_Inert,), {})  # a new one each time, since a pickle can set attributes


def _dictionary(content: bytes) -> dict[Any, Any]:
    try:
        for opcode, argument, _ in pickletools.genops(content):  # also checks every length
            if "PUT" in opcode.name and argument is not None and argument > len(content):
                raise ValueError("it asks for more memory than it can need")
        values = _InertUnpickler(io.BytesIO(content), encoding="bytes").load()
    except ValueError:
        raise
    except Exception as error:  # a damaged pickle can lead to any error
        raise ValueError(str(error) or type(error).__name__) from error
    if not isinstance(values, dict):
        raise ValueError("it does not hold a dictionary")
    return values


def _bytes_array(value: Any) -> Images:
    """The pickled array of bytes.

    Raises:
        ValueError: it is something else.
    """
    try:
        _, shape, kind, fortran, content = value.state
        (name, *_) = kind.arguments
        if name != b"u1" or not isinstance(content, bytes):
            raise ValueError("its images are not bytes")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")
    except (AttributeError, TypeError) as error:
        raise ValueError("it does not hold an array of images") from error
