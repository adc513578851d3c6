"""A source of images, decoded once: arrays of uint8 with labels and class names."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from era_cli.errors import UsageError
from era_cli.results import Images, Labels

_RESIZED_AT_ONCE = 256  # images, which are floats four times as large while they are resized
_CHUNK = 1 << 22  # bytes of images handled at a time, so that a memory-mapped array is never held whole


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A source's images, and which of them train and which test.

    images (N, 3, H, W) uint8, labels (N,) int64, `train` and `test` sorted indices into both, and
    for a folder the file of each image. Splits are indices, never copies, so that images which are
    memory-mapped stay so. `name` is what a run is called after, `source` what --data said (an
    absolute path for a folder), `own_test` whether it came with its test split (else era held one out),
    `mirrors` whether a mirrored image is still of its class, `skipped`
    the unreadable files with the reason of each.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    images: Images
    labels: Labels
    train: Labels
    test: Labels
    content_hash: str
    own_test: bool = True
    files: tuple[str, ...] | None = None
    mirrors: bool = True
    skipped: tuple[str, ...] = ()

    @property
    def image_size(self) -> int:
        """Side of the square images, in pixels."""
        return int(self.images.shape[-1])

    def numbers(self, indices: Labels) -> Labels:
        """What the source calls these images (N,): their places, from 0, within its training or its test split.

        Where the source came in one piece, it is their places within all of it.
        """
        if not self.own_test:
            return indices
        places = np.empty(len(self.images), np.int64)
        places[self.train], places[self.test] = np.arange(len(self.train)), np.arange(len(self.test))
        return places[indices]


def skipped_note(dataset: Dataset) -> str:
    """A sentence on the images that could not be read, of which there is at least one."""
    count = len(dataset.skipped)
    shown = ", ".join(dataset.skipped[:3]) + (f" and {count - 3} more" if count > 3 else "")
    return f"{count} image{'s' * (count > 1)} cannot be read and {'are' if count > 1 else 'is'} left out: {shown}"


def content_hash(classes: tuple[str, ...], images: Images, labels: Labels, test: Labels) -> str:
    """SHA-256 over class names, labels, test indices and pixels: what a run was trained and judged on."""
    digest = hashlib.sha256(repr((classes, images.shape)).encode())
    digest.update(labels.astype(np.int64).tobytes())
    digest.update(test.astype(np.int64).tobytes())
    step = _at_once(images)
    for start in range(0, len(images), step):
        digest.update(np.ascontiguousarray(images[start : start + step]).data)
    return digest.hexdigest()


def _at_once(images: Images) -> int:
    return max(1, _CHUNK // images[0].nbytes) if len(images) else 1


def resize(images: Images, size: int) -> Images:
    """images (N, 3, H, W) -> (N, 3, size, size), bilinear with anti-aliasing; unchanged if it fits.

    Raises:
        UsageError: the result would take more than half of the machine's memory.
    """
    if images.shape[-2:] == (size, size):
        return images
    _refuse_too_large(len(images), size)
    resized = np.empty((*images.shape[:2], size, size), np.uint8)
    for start in range(0, len(images), _RESIZED_AT_ONCE):
        chunk = torch.from_numpy(images[start : start + _RESIZED_AT_ONCE]).float()
        chunk = F.interpolate(chunk, (size, size), mode="bilinear", antialias=True, align_corners=False)
        resized[start : start + _RESIZED_AT_ONCE] = chunk.round().clamp(0, 255).to(torch.uint8).numpy()
    return resized


def _refuse_too_large(count: int, size: int) -> None:
    if not hasattr(os, "sysconf"):  # Windows
        return
    need, memory = count * 3 * size**2, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > memory / 2:
        raise UsageError(
            f"{count:,} images of {size}x{size} take {need / 1e9:.1f} GB, and this machine has {memory / 1e9:.1f} GB:"
            " use a smaller --image-size"
        )


def mean_and_std(images: Images, indices: Labels) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel over the images at `indices`, in 0..1.

    Exact: pixels are counted by value. A channel of one value gets the deviation 1/255, so that
    dividing by it stays finite.
    """
    counts = np.zeros((3, 256), np.int64)
    step = _at_once(images)
    for start in range(0, len(indices), step):
        chunk = images[indices[start : start + step]]
        for channel in range(3):
            counts[channel] += np.bincount(chunk[:, channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    red, green, blue = (float(value) for value in mean)
    std_red, std_green, std_blue = (max(float(value), 1 / 255) for value in std)
    return (red, green, blue), (std_red, std_green, std_blue)
