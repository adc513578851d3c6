"""CIFAR-10: downloaded where it is absent, verified before it is read, and unpickled without trusting it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tarfile
import tempfile
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import platformdirs
from filelock import FileLock, Timeout

from era_cli.core.data import cache, cifar10_pickles, download
from era_cli.core.data.dataset import Dataset, content_hash, resize
from era_cli.errors import EraError
from era_cli.files import atomic_write, sweep_temporaries
from era_cli.listener import Listener
from era_cli.regular_file import read_regular
from era_cli.results import Images, Labels

FOLDER = "cifar-10-batches-py"
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
META_FILE = "batches.meta"
SIDE = cifar10_pickles.SIDE
T = TypeVar("T")
_MOST_BYTES = 100_000_000  # of a file; the published ones have 31 MB


@dataclass(frozen=True, kw_only=True)
class Archive:
    """URL of the archive, its size in bytes, and the MD5 of the archive and of each file in it."""

    url: str
    size: int
    md5: str
    files: Mapping[str, str]


# URL and MD5s as in torchvision 0.29, torchvision/datasets/cifar.py; a test compares them.
PUBLISHED = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    size=170_498_071,
    md5="c58f30108f718f92721af3b95e74349a",
    files={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
)


def default_data_dir() -> Path:
    """The CIFAR-10 directory without --data-dir."""
    return Path(platformdirs.user_cache_dir("era")) / "data"


def is_in(data_dir: Path) -> bool:
    """Whether `data_dir` holds a file of each published name, as `load` looks for them."""
    folders = (data_dir, data_dir / FOLDER)
    # Unlike Path.is_file, isfile is not stopped by folders that may not be entered.
    return any(all(os.path.isfile(folder / name) for name in PUBLISHED.files) for folder in folders)  # noqa: PTH113


def load(
    image_size: int,
    data_dir: Path | None,
    listener: Listener,
    *,
    archive: Archive = PUBLISHED,
    timeout: float = 30.0,
    patience: float = 600.0,
    cache_dir: Path | None = None,
) -> Dataset:
    """50,000 training and 10,000 test images of 10 classes, resized if `image_size` is not 32.

    Args:
        data_dir: the folder that holds `cifar-10-batches-py`, or that folder itself.
        timeout: seconds in which the server must answer, and then send each part of the archive.
        patience: seconds to wait for another process that should be downloading them, without any progress.
        cache_dir: where the decoded images are cached; by default in the user's cache.

    Raises:
        EraError: the files are damaged, or absent and cannot be downloaded.
    """
    root = data_dir or default_data_dir()
    try:
        folder = root if (root / META_FILE).is_file() else root / FOLDER
        missing = _missing(folder, archive)
    except PermissionError as error:
        raise EraError(
            f"CIFAR-10 in {root} cannot be read ({error.strerror}): fix its permissions, or name another --data-dir"
        ) from error
    if missing:
        _download(folder, archive, timeout, patience, listener)

    images, labels, classes, hashes = _decoded(folder, archive, cache_dir)
    if image_size != SIDE:
        images, hashes = resize(images, image_size), None
    train_count = len(labels) * len(TRAIN_FILES) // (len(TRAIN_FILES) + 1)  # all files hold equally many images
    train, test = np.arange(train_count), np.arange(train_count, len(labels))
    return Dataset(
        name="cifar10",
        source="cifar10",
        classes=classes,
        images=images,
        labels=labels,
        train=train,
        test=test,
        content_hash=content_hash(classes, images, labels, test, hashes),
        hashes=hashes,
    )


def _decoded(folder: Path, archive: Archive, cache_dir: Path | None) -> cache.Decoded:
    """Images, labels (as integers) and class names (as texts); cached until a file is written to."""
    cache_dir = cache_dir or cache.default_dir()
    files = [(name, md5, cache.file_state(folder / name)) for name, md5 in sorted(archive.files.items())]
    entry = cache_dir / hashlib.sha256(repr((cache.FORMAT, files)).encode()).hexdigest()[:32]
    if (cached := cache.read(entry, SIDE)) is not None:
        return cached
    decode = functools.partial(_decode, folder, archive)
    with contextlib.suppress(OSError):  # the cache is full or not writable: decoding is quick, and memory suffices
        return cache.write(cache.begin(cache_dir), entry, SIDE, decode)
    return cache.in_memory(decode)


def _decode(folder: Path, archive: Archive, take: Callable[[Images], object]) -> tuple[Labels, tuple[str, ...]]:
    """Passes the verified images of each file to `take`; returns their labels and the class names."""

    def read(name: str) -> tuple[Images, Labels]:
        return _parsed(folder / name, archive.files[name], cifar10_pickles.batch)

    classes = _parsed(folder / META_FILE, archive.files[META_FILE], cifar10_pickles.class_names)
    labels: list[Labels] = []
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        for name, (images, of_images) in zip(files := (*TRAIN_FILES, TEST_FILE), pool.map(read, files), strict=True):
            if labels and len(of_images) != len(labels[0]):
                raise EraError(_other_content(folder / name, f"it holds {len(of_images):,} images"))
            take(images)
            labels.append(of_images)
    return np.concatenate(labels), classes


def _missing(folder: Path, archive: Archive) -> list[str]:
    missing = [name for name in archive.files if not (folder / name).is_file()]
    for name in missing:
        if os.path.lexists(folder / name):
            raise EraError(f"{folder / name} is not a file: remove it, and era downloads it again")
    return missing


def _parsed(path: Path, md5: str, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(_verified(path, md5))
    except ValueError as error:
        raise EraError(_other_content(path, str(error))) from error


def _other_content(path: Path, reason: str) -> str:
    return f"{path} does not hold the data of CIFAR-10 ({reason}): delete it, and era downloads it again"


def _verified(path: Path, md5: str) -> bytes:
    try:
        content = read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise EraError(f"{path} cannot be read ({error.strerror}): fix its permissions, or delete it") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise EraError(f"{path} is damaged (its MD5 is not the published one): delete it, and era downloads it again")
    return content


def _download(folder: Path, archive: Archive, timeout: float, patience: float, listener: Listener) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder, patience, listener):
            if not (missing := _missing(folder, archive)):
                return
            sweep_temporaries(folder)
            # The file has no name, so that nothing is left of it, however the process ends.
            with tempfile.TemporaryFile(dir=folder) as file:
                download.fetch(
                    archive.url,
                    size=archive.size,
                    md5=archive.md5,
                    file=file,
                    what="CIFAR-10",
                    timeout=timeout,
                    progressed=functools.partial(_show_progress, folder),
                    listener=listener,
                )
                file.seek(0)
                _unpack(file, folder, missing, archive)
    except EraError:
        raise
    except Exception as error:  # what a server answers, or an archive holds, leads to all kinds of errors
        reason = " ".join(str(getattr(error, "reason", None) or error).split()) or type(error).__name__
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise EraError(
            f"CIFAR-10 is not in {folder} and could not be downloaded ({reason}): unpack {archive.url} there"
            " so that it holds data_batch_1, name another --data-dir, or try --data digits, which needs no download"
        ) from error


def _unpack(file: IO[bytes], folder: Path, missing: list[str], archive: Archive) -> None:
    """Puts the missing files into the folder, each only if it is the published one.

    Raises:
        OSError: the archive lacks one, or holds something else by its name.
        Exception: the archive is damaged.
    """
    left = set(missing)
    with tarfile.open(fileobj=file, mode="r:gz") as tar:
        for member in tar:
            if member.size > _MOST_BYTES:
                raise OSError(f"{member.name} in it is larger than {_MOST_BYTES / 1e6:,.0f} MB")
            folder_name, _, name = member.name.partition("/")
            if folder_name != FOLDER or name not in left:
                continue
            source = tar.extractfile(member) if member.isreg() else None
            content = b"" if source is None else source.read()
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != archive.files[name]:
                raise OSError(f"{member.name} in it is not the published file")
            with atomic_write(folder / name) as target:
                target.write(content)
            left.remove(name)
            if not left:
                return
    raise OSError(f"it does not contain {FOLDER}/{min(left)}")


@contextlib.contextmanager
def _one_at_a_time(folder: Path, patience: float, listener: Listener) -> Iterator[None]:
    lock = FileLock(folder / ".download.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        listener.note("Another era process is downloading CIFAR-10; waiting for it.")
        _wait(lock, folder, patience)
    try:
        yield
    finally:
        lock.release()


def _wait(lock: FileLock, folder: Path, patience: float) -> None:
    before = None
    while (now := _progress(folder)) != before:
        before = now
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=patience)
            return
    raise EraError(
        f"another process that is downloading CIFAR-10 into {folder} has received nothing for {patience / 60:,.0f}"
        " minutes: stop it, or name another --data-dir"
    )


def _show_progress(folder: Path) -> None:
    """Tells waiting processes that something was received: the file that is written has no name that they could see."""
    os.utime(folder)


def _progress(folder: Path) -> int:
    """Another value after each progress."""
    return folder.stat().st_mtime_ns
