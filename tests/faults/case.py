"""One fault and what must be true after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A class of faults, a row of the table: `promise` is what holds after each, `test` the file that tries them."""

    title: str
    promise: str
    test: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """One fault of the class `fault`.

    `check` is called with an empty folder; an exception from it, above all an AssertionError, means that the promise
    was broken. A `sharp` case is part of `make test`. One that tries several faults says how many: `tries`.
    """

    fault: Fault
    name: str
    check: Callable[[Path], None]
    sharp: bool = False
    tries: int = 1
