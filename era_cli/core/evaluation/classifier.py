"""A trained classifier: what evaluation, heat maps and whoever else asks a network are handed. Loads no lightning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from era_cli.core.data.normalize import Normalization
from era_cli.core.networks.network import Network


@dataclass(frozen=True)
class TrainedClassifier:
    """A network with what its predictions depend on; `mirrored` if it was trained on mirrored images, too."""

    network: Network
    normalization: Normalization
    classes: tuple[str, ...]
    mirrored: bool

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within it the network computes in fp32 and without dropout; afterwards it is as it was before.

        That keeps a GPU's convolutions from TF32, torch's default for them, and a caller's autocast out.
        """
        training = self.network.training
        self.network.eval()
        try:
            with (
                torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
                torch.autocast(self.device.type, enabled=False),
            ):
                yield
        finally:
            self.network.train(training)
