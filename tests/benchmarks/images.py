"""Folders of made-up images, quick to write: small JPEGs of coloured blotches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

_BLOTCHES = 8  # along each side


def write_classes(folder: Path, *, classes: int, each: int, side: int, seed: int = 0) -> None:
    """Writes `each` images of `side` pixels for every class, `folder/class-0/0.jpg` and so on."""
    draw = np.random.default_rng(seed)
    for label in range(classes):
        home = folder / f"class-{label}"
        home.mkdir(parents=True)
        for number in range(each):
            blotches = Image.fromarray(draw.integers(0, 256, (_BLOTCHES, _BLOTCHES, 3), np.uint8))
            blotches.resize((side, side), Image.Resampling.BILINEAR).save(home / f"{number}.jpg")
