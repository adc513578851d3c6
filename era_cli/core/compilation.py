"""A network's forward pass compiled by torch, or as it is where that fails."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Compiled:
    """Calls `network` through torch.compile; where that fails it tells `note`, and calls it as it is from then on.

    The network itself stays as it was, and so do the names in its checkpoints. Each shape of a batch is compiled when
    it first comes, which takes up to a minute.
    """

    def __init__(self, network: nn.Module, note: Callable[[str], None]) -> None:
        self._network = network
        self._note = note
        # Shapes do not vary within a training but for a few sizes of image.
        self._run: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False)

    def __call__(self, images: Tensor) -> Tensor:
        """What the network answers to a batch."""
        try:
            return self._run(images)
        except Exception as error:  # whatever a compiler, or the want of one, may raise
            if self._run is self._network:
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._note(f"torch could not compile the network ({reason}): training goes on uncompiled.")
            self._run = self._network
            return self._run(images)
