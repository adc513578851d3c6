"""A person's own images: a folder of class folders, decoded once and kept in the user's cache."""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from era_cli.core.data import cache
from era_cli.core.data.dataset import Dataset, content_hash
from era_cli.core.data.image_file import load_image, reason
from era_cli.core.data.splits import held_out_test
from era_cli.errors import EraError
from era_cli.listener import Listener
from era_cli.results import Images, Labels

_CHUNK = 256  # files decoded before the next are begun: bounds what waits in memory
_TRAIN, _TEST = "train", "test"
_SHOWN = 10  # class names in a sentence


@dataclass(frozen=True)
class _File:
    """One image file: its path, its path as shown to people, its class."""

    path: Path
    shown: str
    label: int


@dataclass(frozen=True)
class _Layout:
    """What was found: the class names, and the files of `train` and, if it was there, `test`."""

    classes: tuple[str, ...]
    train: list[_File]
    test: list[_File] | None


def load(root: Path, image_size: int, strict: bool, listener: Listener, *, cache_dir: Path | None = None) -> Dataset:
    """The images under `root`, each cropped to the middle square and resized to `image_size`.

    `root` holds one folder per class, a fifth of each class then being held out for testing; or it
    holds `train` and `test`, each with one folder per class.

    Raises:
        EraError: fewer than two classes, a class without images, a test class that is not in train,
            or, if `strict`, an unreadable image.
    """
    layout = _explore(root)
    files = layout.train + (layout.test or [])
    images, kept, skipped = _decoded(files, layout, image_size, cache_dir, listener)
    if strict and skipped:
        raise EraError(
            f"{len(skipped)} of {len(files)} images cannot be read, first {skipped[0]}:"
            " mend or remove them, or leave out --strict"
        )
    labels = np.array([files[index].label for index in kept], np.int64)
    border = int(np.searchsorted(kept, len(layout.train)))
    _require_every_class(root, layout, labels[:border], skipped)
    if layout.test is None:
        train, test = held_out_test(labels)
    else:
        train, test = np.arange(border), np.arange(border, len(kept))
        if not len(test):
            raise EraError(
                f"no image in {root / _TEST} can be read, first {skipped[-1]}: mend them or remove that folder"
            )
    for label, name in enumerate(layout.classes):
        if label not in labels[train]:
            raise EraError(
                f"class {name!r} in {root} has too few images to train on and to test on: add some, or remove it"
            )
    return Dataset(
        name=root.name or "images",
        source=str(root),
        classes=layout.classes,
        images=images,
        labels=labels,
        train=train,
        test=test,
        content_hash=content_hash(layout.classes, images, labels, test),
        own_test=layout.test is not None,
        files=tuple(files[index].shown for index in kept),
        skipped=skipped,
    )


def load_all(
    root: Path, classes: tuple[str, ...], image_size: int, listener: Listener, *, cache_dir: Path | None = None
) -> Dataset:
    """Every image under `root` for testing, labelled by its place in `classes`; some classes may have none.

    Of a `root` that holds `train` and `test`, those under `test`.

    Raises:
        EraError: there is no image, none can be read, or a folder is named after no class.
    """
    inside = {path.name: path for path in _folders(root)}
    top = inside[_TEST] if {_TRAIN, _TEST} <= set(inside) and not {_TRAIN, _TEST} & set(classes) else root
    for path in sorted(_folders(top)):
        if path.name not in classes:
            raise EraError(
                f"{top} has a folder {path.name!r}, which is no class of the run ({_some(classes)}):"
                " rename it or take it out"
            )
    files = _files(root, top, list(classes))
    if not files:
        raise EraError(f"{top} holds no images in folders named after the run's classes ({_some(classes)}): add some")
    layout = _Layout(classes, files, None)
    images, kept, skipped = _decoded(files, layout, image_size, cache_dir, listener)
    labels = np.array([files[index].label for index in kept], np.int64)
    everything = np.arange(len(kept))
    return Dataset(
        name=root.name or "images",
        source=str(root),
        classes=classes,
        images=images,
        labels=labels,
        train=np.empty(0, np.int64),
        test=everything,
        content_hash=content_hash(classes, images, labels, everything),
        own_test=False,
        files=tuple(files[index].shown for index in kept),
        skipped=skipped,
    )


def _some(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:_SHOWN]) + (f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else "")


def _require_every_class(root: Path, layout: _Layout, labels: Labels, skipped: tuple[str, ...]) -> None:
    for label, name in enumerate(layout.classes):
        if label not in labels:
            raise EraError(
                f"no training image of class {name!r} in {root} can be read (unreadable: {skipped[0]}):"
                " mend or remove that folder"
            )


def _explore(root: Path) -> _Layout:
    inside = {path.name: path for path in _folders(root)}
    if _TRAIN in inside and _folders(inside[_TRAIN]):
        if _TEST not in inside:
            hint = (
                "rename val to test (era makes its validation split from train)"
                if "val" in inside
                else ("add it, or give the folder that holds the class folders")
            )
            raise EraError(f"{root} has a folder train but none called test: {hint}")
        classes = _classes(inside[_TRAIN])
        if extra := sorted(set(_classes(inside[_TEST])) - set(classes)):
            raise EraError(f"{inside[_TEST]} has a class {extra[0]!r} that {inside[_TRAIN]} has not: add or remove it")
        train = _files(root, inside[_TRAIN], classes)
        test = _files(root, inside[_TEST], classes)
        if not test:
            raise EraError(f"{inside[_TEST]} holds no images: add some, or remove that folder and train's level")
    else:
        classes = _classes(root)
        train, test = _files(root, root, classes), None
    for label, name in enumerate(classes):
        if not any(file.label == label for file in train):
            raise EraError(f"the class folder {name!r} in {root} holds no images: add some, or remove it")
    return _Layout(tuple(classes), train, test)


def _classes(folder: Path) -> list[str]:
    names = sorted(path.name for path in _folders(folder))
    if len(names) < 2:
        loose = sum(path.suffix.lower() in _image_suffixes() for path in folder.iterdir())
        found = f"only the class folder {names[0]!r}" if names else "no class folders"
        found += f", but {loose} images directly" if loose else ""
        raise EraError(f"{folder} holds {found}: put the images of each class in a folder of its own, two at least")
    return names


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]


def _files(root: Path, folder: Path, classes: list[str]) -> list[_File]:
    suffixes = _image_suffixes()
    found = []
    for label, name in enumerate(classes):
        if not (folder / name).is_dir():
            continue
        for path in sorted((folder / name).rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(folder / name).parts)
            if path.suffix.lower() in suffixes and not hidden and path.is_file():
                # A name that is no UTF-8 must still be printable.
                shown = os.fsencode(path.relative_to(root).as_posix()).decode(errors="replace")
                found.append(_File(path, shown, label))
    return found


def _image_suffixes() -> frozenset[str]:
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def _decoded(
    files: list[_File], layout: _Layout, size: int, cache_dir: Path | None, listener: Listener
) -> cache.Decoded:
    """The readable images, their places in `files` as numbers, and the unreadable ones by name as words."""
    cache_dir = cache_dir or cache.default_dir()
    entry = cache_dir / _fingerprint(files, layout, size)
    if (kept := cache.read(entry, size)) is not None:
        return kept
    decode = functools.partial(_decode_each, files, size, listener)
    try:
        building = cache.begin(cache_dir)
    except OSError as error:
        listener.note(f"The decoded images are not kept: {cache_dir} cannot be written ({error.strerror}).")
        return cache.in_memory(decode)
    try:
        return cache.write(building, entry, size, decode)
    except OSError as error:
        raise EraError(
            f"the decoded images cannot be kept in {cache_dir} ({error.strerror}): make room there"
        ) from error


def _fingerprint(files: list[_File], layout: _Layout, size: int) -> str:
    """Changes when any file is added, removed, renamed, moved to another class, or written to."""
    digest = hashlib.sha256(repr((cache.FORMAT, size, layout.classes, layout.test is None)).encode())
    for file in files:
        facts = (file.shown, file.label, *cache.facts(file.path))
        digest.update(repr(facts).encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _decode_each(
    files: list[_File], size: int, listener: Listener, take: Callable[[Images], object]
) -> tuple[Labels, tuple[str, ...]]:
    """Hands every readable image (1, 3, size, size) to `take`; returns which those were, and the rest by name.

    Raises:
        EraError: there is none.
    """
    kept: list[int] = []
    skipped: list[str] = []
    with warnings.catch_warnings(), listener.work("decoding", len(files)) as advance:
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata; what cannot be read is named
        for index, (file, outcome) in enumerate(zip(files, _decode_all(files, size), strict=True)):
            if isinstance(outcome, str):
                skipped.append(f"{file.shown} ({outcome})")
            else:
                take(outcome.transpose(2, 0, 1)[None])
                kept.append(index)
            advance(1)
    if not kept:
        raise EraError(f"none of the {len(files)} images can be read, first {skipped[0]}: mend or replace them")
    return np.array(kept, np.int64), tuple(skipped)


def _decode_all(files: list[_File], size: int) -> Iterator[Images | str]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), _CHUNK):
            yield from pool.map(lambda file: _decode(file.path, size), files[start : start + _CHUNK])


def _decode(path: Path, size: int) -> Images | str:
    """The image as (size, size, 3) uint8, or why it cannot be read."""
    try:
        return load_image(path, size)
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        return reason(error, path)
