"""Random streams that depend on (seed, stream, index) only, so that a resumed run repeats and skips nothing."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


class Stream(IntEnum):
    """What a random stream is for. The values determine every run's result: never change one."""

    START = 0
    SPLIT = 1
    SAMPLE = 2
    ORDER = 3
    AUGMENTATION = 4
    DROPOUT = 5
    TEST_SPLIT = 6
    FLIP = 7


def derived_seed(seed: int, stream: Stream, index: int = 0, rank: int = 0) -> int:
    """A well-mixed 64-bit seed for draw `index` (an epoch or a step) of `stream`.

    Of several processes the one of `rank` 0 draws what a process alone does.
    """
    own = (rank,) if rank else ()
    low, high = np.random.SeedSequence((seed, int(stream), index, *own)).generate_state(2)
    return int(low) | int(high) << 32


def generator(seed: int, stream: Stream, index: int = 0) -> torch.Generator:
    """A CPU generator for draw `index` of `stream`."""
    import torch  # splits need only the seeds

    return torch.Generator().manual_seed(derived_seed(seed, stream, index))
