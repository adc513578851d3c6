"""Image folders on disk, and what a content hash must be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from era_cli.core.data.dataset import Dataset
from era_cli.listener import Advance, Listener


def write_image(path: Path, grey: int = 100, size: tuple[int, int] = (12, 10)) -> None:
    """Writes an RGB image of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path)


def fill(root: Path, counts: Mapping[str, int], suffix: str = ".png") -> Path:
    """Creates folders with that many images each, no two of the same grey."""
    grey = 0
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            write_image(root / name / f"{index:02}{suffix}", grey)
            grey += 1
    return root


def reference_hash(dataset: Dataset) -> str:
    """The content hash by its formula, which stored runs depend on."""
    header = repr((dataset.classes, dataset.images.shape)).encode()
    arrays = (dataset.labels, dataset.test, dataset.images)
    return hashlib.sha256(header + b"".join(array.tobytes() for array in arrays)).hexdigest()


def stored_hashes(cache_dir: Path) -> list[Path]:
    """The files of content hashes in the cache."""
    return list(cache_dir.glob("*/hash-*"))


class Ear(Listener):
    """Records notes, warnings and progress."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.works: list[tuple[str, int | None, str]] = []
        self.done = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    @contextmanager
    def work(self, what: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
        self.works.append((what, total, unit))

        def advance(count: int) -> None:
            self.done += count

        yield advance
