"""Whole-batch augmentation of uint8 images on their device, drawn independently for each image.

Random crop with padding and horizontal flip as in He et al. 2015 (arXiv:1512.03385, section 4.2),
cutout as in DeVries and Taylor 2017 (arXiv:1708.04552), with the square wholly inside the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from era_cli.core.data.share import WHOLE, Share
from era_cli.recipes import REFERENCE_IMAGE_SIZE, Recipe


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random crop, flip and cutout: padding and cutout in pixels, flip as a probability.

    Flips that alternate are none of its: they depend on the epoch, and are done when a batch is cut.
    `fill` is the (3,) uint8 colour of the cutout: the mean of the training images, so that it
    is about zero after normalisation.
    """

    padding: int
    mode: str
    flip: float
    cutout: int
    fill: Tensor
    flip_mode: str = "random"

    @classmethod
    def of(cls, recipe: Recipe, image_size: int, mean: tuple[float, float, float]) -> Augmentation:
        """The recipe's augmentation, its pixels scaled from 32 px to `image_size`; `mean` lies in 0..1."""
        scale = image_size / REFERENCE_IMAGE_SIZE
        return cls(
            padding=min(round(recipe.crop_padding * scale), image_size - 1),
            mode=recipe.crop_mode,
            flip=recipe.flip,
            flip_mode=recipe.flip_mode,
            cutout=round(recipe.cutout * scale),
            fill=(torch.tensor(mean) * 255).round().to(torch.uint8),
        )

    def __str__(self) -> str:
        flip = {"random": "random flip", "alternate": "alternating flip"}[self.flip_mode]
        sizes = {"random crop": self.padding, flip: self.flip, "cutout": self.cutout}
        return ", ".join(name for name, size in sizes.items() if size)

    def __call__(self, images: Tensor, generator: torch.Generator, share: Share = WHOLE) -> Tensor:
        """Augments images (N, 3, H, W) uint8 into a new channels_last tensor of the same shape.

        All draws come from `generator`, on the CPU, so that they are the same on every device; they are drawn for the
        whole batch, so that they are the same on any number of processes, of which this one has the `share` `images`.
        """
        count, _, height, width = images.shape
        drawn, own = (count * share.of, 1), share.slice_of(count * share.of)
        shift_y = torch.randint(-self.padding, self.padding + 1, drawn, generator=generator)[own]
        shift_x = torch.randint(-self.padding, self.padding + 1, drawn, generator=generator)[own]
        flipped = torch.rand(drawn, generator=generator)[own] < self.flip * (self.flip_mode == "random")
        cutout_y = torch.randint(0, height - min(self.cutout, height) + 1, drawn, generator=generator)[own]
        cutout_x = torch.randint(0, width - min(self.cutout, width) + 1, drawn, generator=generator)[own]

        rows = torch.arange(height) + shift_y
        columns = torch.arange(width)
        columns = torch.where(flipped, width - 1 - columns, columns) + shift_x
        in_rows, in_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        device = images.device
        picked = images.permute(0, 2, 3, 1)[
            torch.arange(count, device=device)[:, None, None],
            _send(_reflect(rows, height), device)[:, :, None],
            _send(_reflect(columns, width), device)[:, None, :],
        ]
        if self.mode == "zero" and self.padding:
            inside = _send(in_rows, device)[:, :, None] & _send(in_columns, device)[:, None, :]
            picked *= inside[..., None]
        if self.cutout:
            square_rows, square_columns = _span(cutout_y, self.cutout, height), _span(cutout_x, self.cutout, width)
            square = _send(square_rows, device)[:, :, None] & _send(square_columns, device)[:, None, :]
            picked = torch.where(square[..., None], _send(self.fill, device), picked)
        return picked.permute(0, 3, 1, 2)


def _send(draws: Tensor, device: torch.device) -> Tensor:
    # Not blocking: a step on a GPU must not wait for the one before it.
    return draws.to(device, non_blocking=True)


def _reflect(index: Tensor, size: int) -> Tensor:
    """Indices past an edge, mirrored at the edge pixel (which is not repeated)."""
    index = index.abs()
    return size - 1 - (size - 1 - index).abs()


def _span(start: Tensor, length: int, size: int) -> Tensor:
    place = torch.arange(size)
    return (place >= start) & (place < start + length)
