"""How time and memory of `era fit` grow with the images: 1, 2, 4 and 8 times as many, each in a process of its own.

The images are noise of 16 pixels. Time is that of an epoch's training steps, the second of two; memory is the peak of
resident memory of the whole process. So that a source of half a gigabyte is tried in seconds, only part of it is
trained on, always the same share.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import torch

from era_cli.recipes import default
from tests.benchmarks import processes
from tests.benchmarks.measuring import Figure, Options, take_turns
from tests.benchmarks.memory import MB

TIMES = (1, 2, 4, 8)
SIDE = 16  # pixels


def figures(options: Options) -> Iterator[Figure]:
    """Seconds and MB at each size over those at the first."""
    images = 4096 if options.quick else 65_536
    batch = 8 if options.quick else default().batch_size
    steps = 2 if options.quick else 128 if torch.cuda.is_available() else 4

    def grown(times: int) -> tuple[float, float]:
        arguments = map(str, (times * images, SIDE, batch, times * steps))
        finished = processes.succeeded(["-m", "tests.benchmarks.growth_child", *arguments])
        return json.loads(finished.stdout)["seconds"], finished.peak / MB

    rounds = take_turns([partial(grown, times) for times in TIMES], options.rounds)
    for place, times in enumerate(TIMES[1:], start=1):
        yield Figure(
            what=f"seconds of an epoch of {times * batch * steps:,} images over those of {batch * steps:,}"
            f" (linear: {times})",
            left=f"{times} times the images",
            right="once",
            unit="s",
            rounds=tuple((found[place][0], found[0][0]) for found in rounds),
        )
    for place, times in enumerate(TIMES[1:], start=1):
        yield Figure(
            what=f"peak memory with {times * images:,} images in the source over that with {images:,}",
            left=f"{times} times the images",
            right="once",
            unit="MB",
            rounds=tuple((found[place][1], found[0][1]) for found in rounds),
        )
    gained = (TIMES[-1] - TIMES[0]) * images * 3 * SIDE**2 / MB
    yield Figure(
        what=f"peak memory gained from once to {TIMES[-1]} times the images, over their bytes (linear: 1)",
        left="memory gained",
        right="images gained",
        unit="MB",
        rounds=tuple((found[-1][1] - found[0][1], gained) for found in rounds),
    )
