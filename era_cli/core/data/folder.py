"""A user's own images: a folder of class folders, decoded once and cached."""

from __future__ import annotations

import errno
import functools
import hashlib
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.pool import IMapIterator, ThreadPool
from pathlib import Path

import numpy as np

from era_cli.core.data import cache
from era_cli.core.data.dataset import Dataset, absent_class, content_hash
from era_cli.core.data.image_file import FORMATS, MAX_BYTES, load_image, reason, suffixes
from era_cli.core.data.image_tree import ImageTree, folders
from era_cli.core.data.memory_budget import MemoryBudget
from era_cli.core.data.splits import held_out_test
from era_cli.errors import EraError
from era_cli.listener import Listener
from era_cli.results import Images, Labels
from era_cli.text import plural

_CHUNK = 256  # files decoded ahead,
_CHUNK_BYTES = 1 << 28  # and the memory in which they wait once decoded
_TURN = 0.2  # seconds of waiting at a time
_TRAIN, _TEST = "train", "test"
_SHOWN = 10  # class names in an error
_KINDS = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"


@dataclass(frozen=True)
class _File:
    """One image file: its path, its path as shown to people, its class index."""

    path: Path
    shown: str
    label: int


@dataclass(frozen=True)
class _Layout:
    """The class names, and the files of each split; `test` is None where the folder has no splits."""

    classes: tuple[str, ...]
    train: list[_File]
    test: list[_File] | None


def load(root: Path, image_size: int, strict: bool, listener: Listener, *, cache_dir: Path | None = None) -> Dataset:
    """The images under `root`, each center-cropped to a square and resized to `image_size`.

    `root` holds one folder per class, in which case a fifth of each class is held out as test split,
    or `train` and `test`, each with one folder per class.

    Raises:
        EraError: there are fewer than two classes, a class without images, a test class that is not
            in train, or, if `strict`, an unreadable image.
    """
    layout = _explore(root, listener)
    files = layout.train + (layout.test or [])
    images, readable, skipped, hashes = _decoded(files, layout, image_size, cache_dir, listener)
    if strict and skipped:
        raise EraError(
            f"{len(skipped)} of {plural(len(files), 'image')} cannot be read, first {skipped[0]}:"
            " fix or remove them, or omit --strict"
        )
    labels = np.array([files[index].label for index in readable], np.int64)
    train_count = int(np.searchsorted(readable, len(layout.train)))
    if (name := absent_class(layout.classes, labels[:train_count])) is not None:
        raise EraError(
            f"no training image of class {name!r} in {root} can be read (unreadable: {skipped[0]}):"
            " fix its images or remove that folder"
        )
    if layout.test is None:
        train, test = held_out_test(labels)
    else:
        train, test = np.arange(train_count), np.arange(train_count, len(readable))
        if not len(test):
            raise EraError(
                f"no image in {root / _TEST} can be read, first {skipped[-1]}: fix them or remove that folder"
            )
    if (name := absent_class(layout.classes, labels[train])) is not None:
        raise EraError(f"class {name!r} in {root} has too few images to train and test on: add some, or remove it")
    return Dataset(
        name=root.name or "images",
        source=str(root),
        classes=layout.classes,
        images=images,
        labels=labels,
        train=train,
        test=test,
        content_hash=content_hash(layout.classes, images, labels, test, hashes),
        own_test=layout.test is not None,
        files=tuple(files[index].shown for index in readable),
        skipped=skipped,
        hashes=hashes,
    )


def load_all(
    root: Path, classes: tuple[str, ...], image_size: int, listener: Listener, *, cache_dir: Path | None = None
) -> Dataset:
    """All images under `root` as test images, labelled by index in `classes`; some classes may have none.

    Where `root` holds `train` and `test`, only those under `test`.

    Raises:
        EraError: there are no images, none can be read, or a folder is not named after a class.
    """
    top = check_all(root, classes)
    (files,) = _files(root, [top], list(classes), listener)
    if not files:
        raise EraError(
            f"{top} holds no images in folders named after the run's classes ({_shortened(classes)}): add some"
        )
    layout = _Layout(classes, files, None)
    images, readable, skipped, hashes = _decoded(files, layout, image_size, cache_dir, listener)
    labels = np.array([files[index].label for index in readable], np.int64)
    test = np.arange(len(readable))
    return Dataset(
        name=root.name or "images",
        source=str(root),
        classes=classes,
        images=images,
        labels=labels,
        train=np.empty(0, np.int64),
        test=test,
        content_hash=content_hash(classes, images, labels, test, hashes),
        own_test=False,
        files=tuple(files[index].shown for index in readable),
        skipped=skipped,
        hashes=hashes,
    )


def check_all(root: Path, classes: tuple[str, ...]) -> Path:
    """The folder that holds the class folders of `load_all`.

    Raises:
        EraError: a folder there is not named after a class.
    """
    names = {path.name for path in folders(root, root)}
    top = root / _TEST if {_TRAIN, _TEST} <= names and not {_TRAIN, _TEST} & set(classes) else root
    for path in sorted(folders(root, top)):
        if path.name not in classes:
            raise EraError(
                f"{top} has a folder {path.name!r}, which is not a class of the run ({_shortened(classes)}):"
                " rename or remove it"
            )
    return top


def _shortened(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:_SHOWN]) + (f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else "")


def check(root: Path) -> None:
    """Refuses a folder whose class folders cannot be trained on, without a look at their images.

    Raises:
        EraError: as for `load`.
    """
    _splits(root)


def _splits(root: Path) -> tuple[list[str], Path, Path | None]:
    """The class names, and the folders of the class folders to train and to test on, if they are split."""
    by_name = {path.name: path for path in folders(root, root)}
    if _TRAIN in by_name and folders(root, by_name[_TRAIN]):
        if _TEST not in by_name:
            hint = (
                "rename val to test (era makes its validation split from train)"
                if "val" in by_name
                else ("add it, or give the folder that holds the class folders")
            )
            raise EraError(f"{root} has a folder train but none called test: {hint}")
        train, test = by_name[_TRAIN], by_name[_TEST]
        classes = _classes(root, train)
        if extra := sorted(set(_classes(root, test)) - set(classes)):
            raise EraError(f"{test} has a class {extra[0]!r} that {train} does not have: add it there or remove it")
        return classes, train, test
    return _classes(root, root), root, None


def _explore(root: Path, listener: Listener) -> _Layout:
    classes, to_train, to_test = _splits(root)
    train, *rest = _files(root, [to_train] if to_test is None else [to_train, to_test], classes, listener)
    test = rest[0] if rest else None
    if to_test is not None and not test:
        raise EraError(f"{to_test} holds no images: add some, or use --data {to_train} and era holds out a fifth")
    if (name := absent_class(tuple(classes), np.array([file.label for file in train], np.int64))) is not None:
        raise EraError(f"the class folder {name!r} in {root} holds no images ({_KINDS}): add some, or remove it")
    return _Layout(tuple(classes), train, test)


def _classes(root: Path, folder: Path) -> list[str]:
    names = sorted(path.name for path in folders(root, folder))
    if len(names) < 2:
        loose = sum(path.suffix.lower() in suffixes() for path in folder.iterdir())
        content = f"only the class folder {names[0]!r}" if names else "no class folders"
        content += f", but {plural(loose, 'image')} directly" if loose else ""
        raise EraError(f"{folder} holds {content}: put the images of each class in a folder of its own, at least two")
    return names


def _files(root: Path, splits: list[Path], classes: list[str], listener: Listener) -> list[list[_File]]:
    """The files of each split, by the folder of its class folders."""
    tree = ImageTree(root)
    files = [_files_of_split(tree, root, folder, classes) for folder in splits]
    for sentence in tree.left_out():
        listener.warn(sentence)
    return files


def _files_of_split(tree: ImageTree, root: Path, folder: Path, classes: list[str]) -> list[_File]:
    files = []
    for label, name in enumerate(classes):
        if not (folder / name).is_dir():
            continue
        for path in tree.files(folder / name):
            # A name that is not UTF-8 must still be printable.
            shown = os.fsencode(path.relative_to(root).as_posix()).decode(errors="replace")
            files.append(_File(path, shown, label))
    return files


def _decoded(
    files: list[_File], layout: _Layout, size: int, cache_dir: Path | None, listener: Listener
) -> cache.Decoded:
    """The readable images, their indices into `files` (as integers), and the unreadable files (as texts)."""
    cache_dir = cache_dir or cache.default_dir()
    entry = cache_dir / _fingerprint(files, layout, size)
    if (cached := cache.read(entry, size)) is not None:
        return cached
    decode = functools.partial(_decode_each, files, size, listener)
    try:
        building = cache.begin(cache_dir)
    except OSError as error:
        listener.note(f"The decoded images are not cached: {cache_dir} cannot be used ({error.strerror}).")
        return cache.in_memory(decode)
    try:
        return cache.write(building, entry, size, decode)
    except OSError as error:
        fix = "use a smaller --image-size" if error.errno == errno.ENOMEM else "free some disk space there"
        raise EraError(f"the decoded images cannot be written to {cache_dir} ({error.strerror}): {fix}") from error


def _fingerprint(files: list[_File], layout: _Layout, size: int) -> str:
    """Names the cache entry: changes when a file is added, removed, renamed, moved to another class, or written to."""
    digest = hashlib.sha256(repr((cache.FORMAT, size, layout.classes, layout.test is None)).encode())
    for file in files:
        digest.update(repr((file.shown, file.label, *_state(file.path))).encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _state(path: Path) -> tuple[int, ...]:
    try:
        return cache.file_state(path)
    except OSError as error:  # gone, a dangling link, or in a folder that may not be entered
        return (error.errno or 0,)


def _decode_each(
    files: list[_File], size: int, listener: Listener, take: Callable[[Images], object]
) -> tuple[Labels, tuple[str, ...]]:
    """Passes each readable image (1, 3, size, size) to `take`; returns their indices, and the unreadable files.

    Raises:
        EraError: none can be read.
    """
    readable: list[int] = []
    skipped: list[str] = []
    with warnings.catch_warnings(), listener.work("decoding", len(files)) as advance:
        warnings.simplefilter("ignore")  # Pillow's, about odd metadata; unreadable files are listed
        for index, (file, outcome) in enumerate(zip(files, _decode_all(files, size), strict=True)):
            if isinstance(outcome, str):
                skipped.append(f"{file.shown} ({outcome})")
            else:
                take(outcome.transpose(2, 0, 1)[None])
                readable.append(index)
            advance(1)
    if not readable:
        raise EraError(f"no image of {len(files)} can be read, first {skipped[0]}: fix or replace them")
    return np.array(readable, np.int64), tuple(skipped)


def _decode_all(files: list[_File], size: int) -> Iterator[Images | str]:
    budget = MemoryBudget(MAX_BYTES)
    ahead = max(1, min(_CHUNK, _CHUNK_BYTES // (3 * size**2)))
    # Its threads end with the process: Ctrl-C does not wait until an image is decoded, however long that takes.
    with ThreadPool(os.cpu_count()) as pool:
        for start in range(0, len(files), ahead):
            some = files[start : start + ahead]
            outcomes = pool.imap(lambda file: _decode(file.path, size, budget), some)
            for _ in some:
                yield _next(outcomes)


def _next(outcomes: IMapIterator[Images | str]) -> Images | str:
    """The next outcome, waited for in short turns: a signal that the system gives another thread ends no wait."""
    while True:
        try:
            return outcomes.next(timeout=_TURN)
        except multiprocessing.TimeoutError:
            continue


def _decode(path: Path, size: int, budget: MemoryBudget) -> Images | str:
    """The image as (size, size, 3) uint8, or why it cannot be read."""
    try:
        return load_image(path, size, budget)
    except EraError:
        raise
    except Exception as error:  # Pillow's readers raise all kinds of errors for damaged files
        return reason(error, path)
