"""One image file of a person's, as the network's other images are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from era_cli.results import Images

MOST_PIXELS = 89_478_485  # Pillow's own bound, past which it only warns


def load_image(path: Path, size: int) -> Images:
    """One image file as (size, size, 3) uint8: upright, on white, its middle square, resized.

    Raises:
        Exception: the file is no image, is damaged, or has too many pixels.
    """
    with Image.open(path) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(f"{opened.width}x{opened.height} pixels are more than {MOST_PIXELS}")
        opened.draft("RGB", (2 * size, 2 * size))  # a JPEG decodes at a fraction of its size
        upright = ImageOps.exif_transpose(opened)
        square = ImageOps.fit(_to_rgb(upright), (size, size), Image.Resampling.BILINEAR)
    return np.asarray(square)


def reason(error: Exception, path: Path) -> str:
    """Why the image could not be read, on one line and without the path."""
    return " ".join(str(error).split()).replace(str(path), path.name) or type(error).__name__


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits of grey: convert() would clip them at 255
        grey = np.asarray(image, np.float64)
        brightest = max(65_535.0 if image.mode.startswith("I") else 1.0, float(grey.max()))
        return Image.fromarray((grey * (255 / brightest)).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")
