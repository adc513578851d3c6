"""A decoded image source: uint8 images with labels, class names and splits."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import numpy as np

from era_cli.core.data.cache import ContentHashes
from era_cli.errors import UsageError
from era_cli.results import Images, Labels
from era_cli.text import plural

_RESIZED_AT_ONCE = 256  # images,
_RESIZED_BYTES = 1 << 28  # and of memory as float32, four times that of the images
_CHUNK = 1 << 22  # bytes of images read at a time, so that a memory-mapped array is never held in memory whole


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A source's images and their split into training and test images.

    Splits are indices, never copies, so that memory-mapped images stay mapped.

    Attributes:
        name: what runs are named after.
        source: what --data said; for a folder its absolute path.
        images: (N, 3, H, W) uint8.
        labels: (N,) int64.
        train: sorted indices of the training images (before a validation split).
        test: sorted indices of the test images.
        content_hash: identifies classes, labels, test split and pixels; see `content_hash`.
        own_test: whether the source came with a test split; otherwise it was held out here.
        files: for a folder, the path of each image as shown to people.
        mirrors: whether a mirrored image still belongs to its class.
        skipped: unreadable files, each with the reason.
        hashes: the content hashes cached with these pixels, if they are cached.
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
    hashes: ContentHashes | None = None

    @property
    def image_size(self) -> int:
        """Side of the square images, in pixels."""
        return int(self.images.shape[-1])

    def class_counts(self, indices: Labels) -> Labels:
        """How many of the images at `indices` are of each class, (C,) int64."""
        return np.bincount(self.labels[indices], minlength=len(self.classes))

    def source_index(self, indices: Labels) -> Labels:
        """The index (N,), from 0, of each image within the training or test split that the source came with.

        For a source that came without a test split, it is the index within the full source.
        """
        if not self.own_test:
            return indices
        index = np.empty(len(self.images), np.int64)
        index[self.train], index[self.test] = np.arange(len(self.train)), np.arange(len(self.test))
        return index[indices]

    def content_hash_with(self, test: Labels) -> str:
        """What the content hash would be with `test` as the test split."""
        return content_hash(self.classes, self.images, self.labels, test, self.hashes)


def absent_class(classes: tuple[str, ...], labels: Labels) -> str | None:
    """The first class without an image among `labels`, if there is one."""
    return next((name for label, name in enumerate(classes) if label not in labels), None)


def skipped_note(dataset: Dataset) -> str:
    """One sentence about the unreadable images, of which there must be at least one."""
    count = len(dataset.skipped)
    shown = ", ".join(dataset.skipped[:3]) + (f" and {count - 3} more" if count > 3 else "")
    return f"{plural(count, 'image')} cannot be read and {'is' if count == 1 else 'are'} left out: {shown}"


def content_hash(
    classes: tuple[str, ...], images: Images, labels: Labels, test: Labels, hashes: ContentHashes | None = None
) -> str:
    """SHA-256 over class names, shape, labels, test indices and pixels: what a run was trained and evaluated on.

    Runs store it, so its value must never change. Pixels that come from the cache as they are bring their `hashes`.
    """
    digest = hashlib.sha256(repr((classes, images.shape)).encode())
    digest.update(labels.astype(np.int64).tobytes())
    digest.update(test.astype(np.int64).tobytes())
    key = digest.hexdigest()
    if hashes and (cached := hashes.get(key)):
        return cached
    step = _images_per_chunk(images)
    for start in range(0, len(images), step):
        digest.update(np.ascontiguousarray(images[start : start + step]).data)
    if hashes:
        hashes.put(key, digest.hexdigest())
    return digest.hexdigest()


def _images_per_chunk(images: Images) -> int:
    return max(1, _CHUNK // images[0].nbytes) if len(images) else 1


def resize(images: Images, size: int) -> Images:
    """(N, 3, H, W) -> (N, 3, size, size), bilinear with anti-aliasing; the same array if it already has that size.

    Raises:
        UsageError: the result would take more than half of the machine's memory, or more than is free.
    """
    if images.shape[-2:] == (size, size):
        return images
    _refuse_too_large(len(images), size)
    try:
        return _resized(images, size)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise UsageError(
            f"there is not enough memory for {len(images):,} images of {size}x{size}: use a smaller --image-size"
        ) from error


def _resized(images: Images, size: int) -> Images:
    import torch  # only here: most data have the right size, and then what is wrong with them is said at once
    from torch.nn import functional as F

    resized = np.empty((*images.shape[:2], size, size), np.uint8)
    at_once = max(1, min(_RESIZED_AT_ONCE, _RESIZED_BYTES // (4 * images.shape[1] * size**2)))
    for start in range(0, len(images), at_once):
        chunk = torch.from_numpy(images[start : start + at_once]).float()
        chunk = F.interpolate(chunk, (size, size), mode="bilinear", antialias=True, align_corners=False)
        resized[start : start + at_once] = chunk.round().clamp(0, 255).to(torch.uint8).numpy()
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

    Exact, since pixels are counted by value. The standard deviation is at least 1/255, so that a
    constant channel can still be divided by it.
    """
    counts = np.zeros((3, 256), np.int64)
    step = _images_per_chunk(images)
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
