"""A person's own image files, preprocessed like the images of a folder. Loads no lightning."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from era_cli.core.data.image_file import load_image, open_image, reason
from era_cli.errors import EraError, UsageError
from era_cli.results import Images


def load(files: Sequence[Path], size: int) -> Images:
    """The images (N, 3, size, size) uint8.

    Raises:
        UsageError: one is absent.
        EraError: some cannot be read; all of those are named at once. Or there is not enough memory.
    """
    images, faults = [], []
    for file in files:
        if file.is_dir() or not file.exists():
            raise UsageError(
                f"{file} is a folder: name the images in it"
                if file.is_dir()
                else f"there is no image {file}: check the path"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on odd files that it reads all the same
                images.append(load_image(file, size))
        except EraError:
            raise
        except Exception as error:  # Pillow raises whatever a damaged file leads it to
            faults.append(f"{file} cannot be read as an image ({reason(error, file)})")
    if faults:
        raise EraError(f"{'; '.join(faults)}: fix or remove what cannot be read")
    return np.stack(images).transpose(0, 3, 1, 2)


def load_large(files: Sequence[Path], most: int) -> Images | None:
    """The same crops, (N, S, S, 3), in the resolution of the largest of them, at most `most` pixels a side.

    None without files, or if one cannot be read.
    """
    try:
        largest = max(_side(file) for file in files)
        return load(files, min(most, largest)).transpose(0, 2, 3, 1)
    except (EraError, OSError, ValueError):
        return None


def _side(file: Path) -> int:
    with open_image(file) as image:
        return min(image.size)
