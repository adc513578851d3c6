"""Images that grow while training goes on: small ones at first, which cost a fraction of the time.

Progressive resizing, as in fast.ai's DAWNBench entry (Howard 2018) and EfficientNetV2 (Tan and Le 2021,
arXiv:2104.00298, section 4). What a network learns first, it learns as well from fewer pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from era_cli.core.model import SMALLEST_IMAGE
from era_cli.recipe import Recipe

GRAIN = 8  # pixels between two sides: the network halves them three times


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The sides of the images in pixels: the last from step `full_from` on, the others in equal parts before it."""

    sides: tuple[int, ...]
    full_from: int

    @classmethod
    def of(cls, recipe: Recipe, image_size: int, total_steps: int) -> Growth:
        """The recipe's growth up to `image_size` in a training of so many steps."""
        first = max(SMALLEST_IMAGE, GRAIN * math.ceil(recipe.first_size * image_size / GRAIN))
        sides = (*range(first, image_size, GRAIN), image_size)
        return cls(sides=sides, full_from=math.ceil(recipe.full_size_at * total_steps) if len(sides) > 1 else 0)

    def side(self, step: int) -> int:
        """The side of the images in step `step`, counted from 0."""
        if step >= self.full_from:
            return self.sides[-1]
        return self.sides[(len(self.sides) - 1) * step // self.full_from]

    def work(self, total_steps: int) -> npt.NDArray[np.float64]:
        """What the first 0, 1, ... `total_steps` steps cost (total_steps + 1,), in steps of full size: pixels count."""
        each = [(self.side(step) / self.sides[-1]) ** 2 for step in range(total_steps)]
        return np.cumsum([0.0, *each])

    def __call__(self, images: Tensor, step: int) -> Tensor:
        """Images (N, 3, H, W) in the size of step `step`, channels_last: averaged down, or as they are."""
        side = self.side(step)
        if side == images.shape[-1]:
            return images
        return F.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
