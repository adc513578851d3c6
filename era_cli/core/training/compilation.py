"""A network compiled by torch, or uncompiled where that fails."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from era_cli.core.training import compiler_cache


class Compiled:
    """Calls `network` through torch.compile; where that fails it tells `note` why, and calls it uncompiled.

    The network itself stays as it was, and so do the names in its checkpoints.
    """

    def __init__(self, network: nn.Module, note: Callable[[str], None]) -> None:
        self._network = network
        self._note = note
        self._run: Callable[[Tensor], Tensor] | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """The logits of a batch; the first one, whose shape all have, compiles the network, in up to a minute."""
        if self._run is None:
            self._run = self._compiled(images)
        return self._run(images)

    def _compiled(self, images: Tensor) -> Callable[[Tensor], Tensor]:
        """Tries both passes on a copy: the backward one is compiled only when it runs, too late to fall back."""
        trial = copy.deepcopy(self._network)
        try:
            compiler_cache.settle()
            with torch.random.fork_rng():  # the trial must not change what dropout draws
                torch.compile(trial, dynamic=False)(images).float().sum().backward()
        except Exception as error:  # whatever a compiler, or the lack of one, may raise
            reason = " ".join(str(getattr(error, "inner_exception", error)).split()) or type(error).__name__
            self._note(f"torch could not compile the network ({reason[:200]}): training continues uncompiled.")
            return self._network
        return torch.compile(self._network, dynamic=False)
