"""Which steps of a run are replayed, and from where. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from era_cli.errors import EraError
from era_cli.runs import artifacts


@dataclass(frozen=True)
class Span:
    """Steps `first` to `last`, from the training state in the file `origin`, or those of a new run."""

    origin: str | None
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1


class NotReplayable(EraError):
    """Why no step can be replayed."""


def span(last: int | None, previous: int | None, steps_per_epoch: int, *, from_scratch: bool, most: int | None) -> Span:
    """The steps up to `last`, the first `most` of them if it is given.

    They begin after the `previous` state, or with the first step where there is none and that is no more than an epoch.

    Args:
        last: after how many steps the last state was taken; None if it is damaged.
        previous: the same of the one before it; None if it is absent or damaged.

    Raises:
        NotReplayable: there is nothing to compare with, or only the whole run can be replayed.
    """
    if not last:
        raise NotReplayable(f"there is no valid {artifacts.LAST} with at least one step to compare with")
    if from_scratch:
        origin, done = None, 0
    elif previous is not None and previous < last:
        origin, done = artifacts.PREVIOUS, previous
    elif last <= steps_per_epoch:
        origin, done = None, 0
    else:
        raise NotReplayable(
            f"no checkpoint before {artifacts.LAST} is left to replay from: repeat the run with --from-scratch"
        )
    return Span(origin, done + 1, last if most is None else min(last, done + most))
