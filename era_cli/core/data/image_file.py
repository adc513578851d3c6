"""Reads one image file the way every image of a folder is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from era_cli.results import Images

MAX_PIXELS = 89_478_485  # Pillow's limit, beyond which it only warns


def load_image(path: Path, size: int) -> Images:
    """The image as (size, size, 3) uint8: upright, composited on white, center-cropped to a square, resized.

    Raises:
        Exception: the file is not an image, is damaged, or has too many pixels.
    """
    with Image.open(path) as opened:
        if opened.width * opened.height > MAX_PIXELS:
            raise ValueError(f"{opened.width}x{opened.height} is more than {MAX_PIXELS} pixels")
        opened.draft("RGB", (2 * size, 2 * size))  # a JPEG decodes at a fraction of its size
        upright = ImageOps.exif_transpose(opened)
        square = ImageOps.fit(_to_rgb(upright), (size, size), Image.Resampling.BILINEAR)
    return np.asarray(square)


def reason(error: Exception, path: Path) -> str:
    """Why the image could not be read, on one line and without the path."""
    return " ".join(str(error).split()).replace(str(path), path.name) or type(error).__name__


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16- or 32-bit grey, which convert() would clip at 255
        grey = np.asarray(image, np.float64)
        brightest = max(65_535.0 if image.mode.startswith("I") else 1.0, float(grey.max()))
        return Image.fromarray((grey * (255 / brightest)).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
