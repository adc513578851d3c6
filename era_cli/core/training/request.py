"""What a person asks of a training. Loads no torch, so that what is wrong with it is said at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from era_cli.core.data import sources
from era_cli.errors import UsageError
from era_cli.recipes import Recipe

DEFAULT_SOURCE = "cifar10"


SMALLEST_SHARE = 2  # of a batch, for a process: batch-norm needs two images to have a deviation


def check_batch(size: int, processes: int) -> None:
    """Refuses a batch that cannot be divided equally among the processes.

    Raises:
        UsageError: it leaves a rest, or a process one image; the sentence names sizes that do not.
    """
    least = SMALLEST_SHARE * processes
    below, rest = size // processes * processes, size % processes
    if processes == 1 or (not rest and size >= least):
        return
    near = [below, below + processes] if below >= least else [least, least + processes]
    raise UsageError(
        f"--batch-size {size} cannot be divided equally among {processes} processes with at least {SMALLEST_SHARE}"
        f" images each: use {near[0]} or {near[1]}"
    )


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked for.

    `given` holds the recipe fields that were given as options, as opposed to those of the named recipe;
    `source` is None where `--data` was left out; `find_lr` asks for a peak learning rate from a sweep.
    """

    recipe: Recipe
    given: Mapping[str, Any]
    source: str | None
    data_dir: Path | None
    strict: bool
    gpus: str
    find_lr: bool = False
    sync_batchnorm: bool = False

    @property
    def data(self) -> str:
        """The source to train on."""
        return DEFAULT_SOURCE if self.source is None else self.source

    def check(self) -> None:
        """Refuses what can be seen to be wrong without a look at an image or the machine.

        Raises:
            EraError: the data are absent, or hold no folder per class.
        """
        sources.check(self.data)
