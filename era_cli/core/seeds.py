"""Random streams that depend on (seed, stream, index) alone, so that a resumed run repeats none and skips none."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a random stream decides. The numbers are part of every run's result: never change one."""

    START = 0
    SPLIT = 1
    SAMPLE = 2
    ORDER = 3
    AUGMENTATION = 4
    DROPOUT = 5
    TEST_SPLIT = 6


def derived_seed(seed: int, stream: Stream, index: int = 0) -> int:
    """A 64-bit seed, well mixed, for part `index` of `stream`."""
    low, high = np.random.SeedSequence((seed, int(stream), index)).generate_state(2)
    return int(low) | int(high) << 32


def generator(seed: int, stream: Stream, index: int = 0) -> torch.Generator:
    """A CPU generator for part `index` of `stream`."""
    return torch.Generator().manual_seed(derived_seed(seed, stream, index))
