"""From uint8 pixels to network input, the same for every command."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from era_cli.runs.document import RunDocument


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation of the training images, in 0..1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, document: RunDocument) -> Normalization:
        """That which the run described by `document` (run.json) was trained with."""
        return cls(document.data.mean, document.data.std)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) -> float32 (N, 3, H, W), channels_last, zero mean, unit variance."""
        scale = 1 / (255 * torch.tensor(self.std))
        shift = -torch.tensor(self.mean) / torch.tensor(self.std)
        scale, shift = (value.view(1, 3, 1, 1).to(images.device, non_blocking=True) for value in (scale, shift))
        pixels = images.to(torch.float32, memory_format=torch.channels_last)
        return pixels * scale + shift
