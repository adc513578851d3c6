"""Two training states compared, bit for bit. Loads no lightning."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from era_cli.text import plural


@dataclass(frozen=True)
class Difference:
    """The first value that differs in two states, and how far these are apart.

    `relative` is the Euclidean norm of the difference over that of the first state, infinite where they have different
    values, shapes or types.
    """

    first: str
    relative: float


def difference(recorded: Any, computed: Any) -> Difference | None:
    """The difference of two nested dictionaries and lists of tensors and numbers, None where they are identical."""
    left, right = dict(_leaves(recorded)), dict(_leaves(computed))
    first: str | None = None
    apart = size = 0.0
    for name in [*left, *(name for name in right if name not in left)]:
        if name not in left or name not in right:
            return Difference(
                f"{name} is missing from the {'recorded' if name in right else 'computed'} state", math.inf
            )
        what, one, other = _compared(left[name], right[name])
        if what:
            first = first or f"{name}: {what}"
        apart, size = apart + one, size + other
    if first is None:
        return None
    if not size or not math.isfinite(apart):
        return Difference(first, math.inf)
    return Difference(first, max(math.sqrt(apart / size), sys.float_info.min))  # more than 0: a bit differs


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    items = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else None
    )
    if items is None:
        yield name, value
        return
    for key, item in items:
        yield from _leaves(item, f"{name}.{key}".lstrip("."))


def _compared(left: Any, right: Any) -> tuple[str, float, float]:
    """What differs, the squared norm of the difference, and that of the first value."""
    if not isinstance(left, Tensor) or not isinstance(right, Tensor):
        size = left**2 if isinstance(left, float) else 0.0
        if type(left) is type(right) and left == right:
            return "", 0.0, size
        apart = (left - right) ** 2 if isinstance(left, float) and isinstance(right, float) else math.inf
        return f"{left!r} recorded, {right!r} computed", apart, size
    if left.shape != right.shape or left.dtype != right.dtype:
        return f"{_form(left)} recorded, {_form(right)} computed", math.inf, 0.0
    wide, other = left.double(), right.double()
    size = float(wide.square().sum()) if left.is_floating_point() else 0.0
    if torch.equal(_bits(left), _bits(right)):
        return "", 0.0, size
    gaps = (wide - other).abs()
    changed = int((_bits(left) != _bits(right)).sum())
    what = f"{changed:,} of {plural(left.numel(), 'number')} {'differs' if changed == 1 else 'differ'}"
    what += f", by up to {float(gaps.max()):.3g}"
    return what, float(gaps.square().sum()) if left.is_floating_point() else math.inf, size


def _bits(tensor: Tensor) -> Tensor:
    """The numbers as integers: -0.0 is not 0.0, and NaN is itself."""
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(integers[tensor.element_size()])


def _form(tensor: Tensor) -> str:
    return f"{'x'.join(map(str, tensor.shape)) or 'one number'} {str(tensor.dtype).removeprefix('torch.')}"
