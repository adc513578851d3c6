"""Smaller images in the first part of a training: coarse features are learned from them at a fraction of the cost.

Progressive resizing, as in fast.ai's DAWNBench entry (Howard 2018) and in Tan and Le 2021 (EfficientNetV2,
arXiv:2104.00298, section 4). A network whose last pooling is global takes any size. Evaluation is always at full size.
The statistics of batch-norm are running means, so that those of the small images are forgotten within the steps at full
size: until then validation is worse than it would be at the size of training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from era_cli.recipes import REFERENCE_IMAGE_SIZE, Recipe

GROWTH = 4  # pixels of a 32 px image, from one size to the next
SMALLEST = 8  # pixels; what every network takes


def at(recipe: Recipe, image_size: int, step: int, total_steps: int) -> int:
    """The side of the training images in `step` (from 0), in pixels; full size is `image_size`.

    It grows from the recipe's initial size in equally long phases, and is full from `grow_until` of all steps on.
    """
    phases = math.ceil((REFERENCE_IMAGE_SIZE - recipe.initial_size) / GROWTH)
    phase = math.floor(phases * step / (recipe.grow_until * total_steps))
    if phase >= phases:
        return image_size
    side = round((recipe.initial_size + GROWTH * phase) * image_size / REFERENCE_IMAGE_SIZE)
    return min(image_size, max(SMALLEST, side))


def resized(images: Tensor, size: int) -> Tensor:
    """Images (N, 3, H, W) uint8 -> (N, 3, size, size) uint8, bilinear with antialiasing; themselves if they fit."""
    if images.shape[-1] == size:
        return images
    if images.device.type == "cpu":  # on bytes it takes a third of the time there, and does not exist elsewhere
        return F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    smaller = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    return smaller.round().clamp(0, 255).to(torch.uint8)
