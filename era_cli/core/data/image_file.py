"""Reads one image file the way every image of a folder is read."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from era_cli.core.data.memory_budget import MemoryBudget
from era_cli.errors import EraError
from era_cli.regular_file import open_regular
from era_cli.results import Images

# What Pillow decodes in this process, in C: no EPS, which starts Ghostscript, none that needs a plugin, and none whose
# readers are hardly ever tried. Tried in this order; TGA comes last because no bytes at its start identify it.
# .github/docs/data.md lists them.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "PPM", "AVIF", "JPEG2000", "PCX", "SGI", "TIFF", "WEBP", "TGA")
MAX_PIXELS = 89_478_485  # Pillow's limit, beyond which it only warns
MAX_BYTES = 1_000_000_000  # of memory for all images that are being decoded, and of one file
_LARGE_FILE = 1 << 25  # bytes from which on a file is opened alone, since some decoders hold the whole of it
_MAX_SCANS = 100  # of a JPEG, each a pass over the whole of it; encoders write about ten
_MANY_PIXELS = 1 << 22  # from which on a baseline JPEG is searched for several scans
_READ = 1 << 20  # bytes of a file that are searched at a time
_STRIP = 1 << 18  # pixels whose colors are converted at a time

# Pillow allocates images in blocks. Those of more than 32 MB the C library gives back to the system, while it would
# keep each thread's 16 MB blocks, Pillow's own choice: 2.8 GB after eight large images.
_BLOCK = 1 << 26

# Bytes per pixel of Pillow's modes; all others have four, as RGB has.
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
_RGB_BYTES = 4
# Bytes per pixel that a decoder takes beside the image, as measured.
_DECODER_BYTES = {"AVIF": 8, "JPEG2000": 14, "WEBP": 12}
_COEFFICIENT_BYTES = 6  # per pixel of a JPEG of several scans, however small it is decoded


@functools.cache
def suffixes() -> frozenset[str]:
    """How the names of image files end, in lower case."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in _formats())


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in FORMATS if kind in Image.OPEN)  # Pillow before 11.3 knows no AVIF


@functools.cache
def _allocate_in_large_blocks() -> None:
    """Changes how Pillow allocates images from now on, in the whole process."""
    Image.core.set_block_size(_BLOCK)  # type: ignore[attr-defined]  # documented, but not in its stubs


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """The image, opened but not decoded.

    Raises:
        Exception: the file is not a regular one, too large, not an image in one of the FORMATS, or damaged.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise ValueError(f"the file is larger than {MAX_BYTES / 1e9:.1f} GB")
        try:
            opened = Image.open(file, formats=_formats())
        except UnidentifiedImageError:
            raise ValueError("cannot identify image file") from None
        with opened:
            yield opened


def load_image(path: Path, size: int, budget: MemoryBudget | None = None) -> Images:
    """The image as (size, size, 3) uint8: upright, composited on white, center-cropped to a square, resized.

    Args:
        budget: shared with the other images that are being decoded.

    Raises:
        EraError: the machine lacks the memory to decode it.
        Exception: the file is not an image, is damaged, or would take too much memory.
    """
    _allocate_in_large_blocks()
    budget = budget or MemoryBudget(MAX_BYTES)
    if path.stat().st_size > _LARGE_FILE:
        with budget.taken(budget.size):
            return _load(path, size, MemoryBudget(budget.size))
    return _load(path, size, budget)


def _load(path: Path, size: int, budget: MemoryBudget) -> Images:
    with open_image(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width}x{image.height} is more than {MAX_PIXELS} pixels")
        coefficients = _coefficients(image, path)
        image.draft("RGB", (2 * size, 2 * size))  # a JPEG decodes at a fraction of its size
        need = coefficients + image.width * image.height * _bytes_per_pixel(image) + _tiff_buffer(image)
        if need > budget.size:
            raise ValueError(f"decoding it takes {need / 1e9:.1f} GB, more than {budget.size / 1e9:.1f} GB")
        with budget.taken(need):
            try:
                ImageOps.exif_transpose(image, in_place=True)
                square = ImageOps.fit(_to_grey_or_rgb(image), (size, size), Image.Resampling.BILINEAR)
            except MemoryError:
                raise EraError(
                    f"there is not enough memory to decode {path}, {image.width}x{image.height}:"
                    " close other programs, or make the image smaller"
                ) from None
    return np.asarray(square.convert("RGB"))


def reason(error: Exception, path: Path) -> str:
    """Why the image could not be read, on one line and without the path."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()).replace(str(path), path.name) or type(error).__name__


def _bytes_per_pixel(image: Image.Image) -> int:
    own = _MODE_BYTES.get(image.mode, _RGB_BYTES)
    return own + max(_RGB_BYTES, _DECODER_BYTES.get(image.format or "", 0))  # turned upright or converted, later


def _coefficients(image: Image.Image, path: Path) -> int:
    """The bytes that the coefficients of a JPEG take until its last scan.

    Raises:
        ValueError: it has so many scans that it was made to take hours.
    """
    pixels = image.width * image.height
    if image.format not in ("JPEG", "MPO") or not ("progressive" in image.info or pixels > _MANY_PIXELS):
        return 0
    with open_regular(path) as file:
        scans = _count(file, b"\xff\xda")
    if scans > _MAX_SCANS:
        raise ValueError(f"a JPEG of {scans:,} scans, more than {_MAX_SCANS}")
    return pixels * _COEFFICIENT_BYTES if scans > 1 else 0


def _count(file: BinaryIO, pair: bytes) -> int:
    """How often these two different bytes are in the file."""
    count, last = 0, b""
    while block := file.read(_READ):
        count += (last + block).count(pair)
        last = block[-1:]
    return count


def _tiff_buffer(image: Image.Image) -> int:
    """The bytes that one strip or tile of a TIFF takes, which may be larger than the image."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0
    tags = image.tag_v2
    across, down = tags.get(TiffImagePlugin.TILEWIDTH), tags.get(TiffImagePlugin.TILELENGTH)
    if across is None or down is None:
        across, down = image.width, min(image.height, tags.get(TiffImagePlugin.ROWSPERSTRIP, image.height))
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    return int(across) * int(down) * max(bits) * int(tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)) // 8


def _to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB, converted in strips: on the whole each step would take the memory of the image."""
    if image.mode.startswith(("I", "F")):  # 16- or 32-bit grey, which convert() would clip at 255
        limit = 65_535.0 if image.mode.startswith("I") else 1.0
        scale = 255 / max(limit, float(np.max([np.asarray(strip).max() for _, strip in _strips(image)])))
        grey = Image.new("L", image.size)
        for top, strip in _strips(image):
            scaled = (np.asarray(strip, np.float64) * scale).clip(0, 255).astype(np.uint8)
            grey.paste(Image.fromarray(scaled), (0, top))
        return grey
    if image.has_transparency_data:
        opaque = Image.new("RGB", image.size)
        for top, strip in _strips(image):
            white = Image.new("RGBA", strip.size, "white")
            opaque.paste(Image.alpha_composite(white, strip.convert("RGBA")).convert("RGB"), (0, top))
        return opaque
    if image.mode in ("L", "1"):
        return image if image.mode == "L" else image.convert("L")
    return image if image.mode == "RGB" else image.convert("RGB")


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Strips of whole rows from top to bottom, each with its first row."""
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))
