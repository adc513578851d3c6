"""What a person asks of a training. Loads no torch, so that what is wrong with it is said at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from era_cli.core.data import sources
from era_cli.recipes import Recipe

DEFAULT_SOURCE = "cifar10"


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
