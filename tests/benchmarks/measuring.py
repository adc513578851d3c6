"""One figure: two sides measured in turn, round by round, and the median of their ratios."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

Measured = TypeVar("Measured")


class CannotRun(Exception):
    """This cannot be measured here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to measure: rounds of each figure, all sizes tiny if `quick`, a finished run to read if there is one."""

    rounds: int = 3
    quick: bool = False
    run: Path | None = None


@dataclass(frozen=True)
class Target:
    """A bound on the median ratio, on the median of the left side, or on the median of left - right."""

    kind: Literal["at least", "at most"]
    bound: float
    of: Literal["ratio", "left", "difference"] = "ratio"

    def __str__(self) -> str:
        return f"{self.of} {self.kind} {self.bound:g}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Two sides in the same `unit`, (left, right) for every round, and what is asked of them.

    Raises:
        ValueError: there is no round, a value is no finite number, or a right side is not positive.
    """

    what: str
    left: str
    right: str
    unit: str
    rounds: tuple[tuple[float, float], ...]
    target: Target | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not self.rounds:
            raise ValueError(f"{self.what}: no round was measured")
        for left, right in self.rounds:
            if not (math.isfinite(left) and math.isfinite(right) and right > 0):
                raise ValueError(f"{self.what}: {left} over {right} is no ratio")

    @property
    def ratios(self) -> tuple[float, ...]:
        """left / right of every round."""
        return tuple(left / right for left, right in self.rounds)

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def left_median(self) -> float:
        """The median of the left side."""
        return statistics.median(left for left, _ in self.rounds)

    @property
    def right_median(self) -> float:
        """The median of the right side."""
        return statistics.median(right for _, right in self.rounds)

    @property
    def difference(self) -> float:
        """The median of left - right."""
        return statistics.median(left - right for left, right in self.rounds)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        judged = {"ratio": self.ratio, "left": self.left_median, "difference": self.difference}[self.target.of]
        return judged >= self.target.bound if self.target.kind == "at least" else judged <= self.target.bound


@dataclass(frozen=True)
class Absent:
    """A figure that was not measured, and why."""

    what: str
    reason: str


Found = Figure | Absent
Part = Callable[[Options], Iterator[Found]]


def take_turns(sides: Sequence[Callable[[], Measured]], rounds: int) -> tuple[tuple[Measured, ...], ...]:
    """What every side gives in every round, in the order of `sides`.

    Every second round runs them in reverse, so that a machine that slows down or warms up favours none.
    """
    found = []
    for number in range(rounds):
        places = range(len(sides))
        values = {place: sides[place]() for place in (places if number % 2 == 0 else reversed(places))}
        found.append(tuple(values[place] for place in places))
    return tuple(found)


def alternate(left: Callable[[], float], right: Callable[[], float], rounds: int) -> tuple[tuple[float, float], ...]:
    """(left, right) of every round, the two sides in turn."""
    return tuple((one, other) for one, other in take_turns((left, right), rounds))
