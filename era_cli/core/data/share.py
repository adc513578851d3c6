"""Which part of a batch, or of all images, one of several processes takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """The part of process `rank` (from 0) of `of` processes."""

    rank: int = 0
    of: int = 1

    def slice_of(self, count: int) -> slice:
        """Its part of `count` items: contiguous, none left out and none taken twice, sizes differing by one at most."""
        return slice(count * self.rank // self.of, count * (self.rank + 1) // self.of)


WHOLE = Share()
