"""CIFAR-10: downloaded where it is absent, verified before it is read, and unpickled without trusting it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.client
import io
import pickle
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from filelock import FileLock, Timeout

from era_cli.core.data import cache
from era_cli.core.data.dataset import Dataset, content_hash, resize
from era_cli.errors import EraError
from era_cli.files import atomic_write
from era_cli.listener import Listener
from era_cli.results import Images, Labels

FOLDER = "cifar-10-batches-py"
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
META_FILE = "batches.meta"
SIDE = 32
_BLOCK = 1 << 18


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


def load(
    image_size: int,
    data_dir: Path | None,
    listener: Listener,
    *,
    archive: Archive = PUBLISHED,
    timeout: float = 30.0,
    cache_dir: Path | None = None,
) -> Dataset:
    """50,000 training and 10,000 test images of 10 classes, resized if `image_size` is not 32.

    Args:
        data_dir: the folder that holds `cifar-10-batches-py`, or that folder itself.
        timeout: seconds to wait for each response of the server.
        cache_dir: where the decoded images are cached; by default in the user's cache.

    Raises:
        EraError: the files are damaged, or absent and cannot be downloaded.
    """
    root = data_dir or default_data_dir()
    folder = root if (root / META_FILE).is_file() else root / FOLDER
    if missing := _missing(folder, archive):
        _download(folder, missing, archive, timeout, listener)

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

    def read(name: str) -> Any:
        return _unpickle(_verified(folder / name, archive.files[name]))

    labels = []
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        *batches, meta = pool.map(read, (*TRAIN_FILES, TEST_FILE, META_FILE))
    for batch in batches:
        take(np.asarray(batch[b"data"]).reshape(-1, 3, SIDE, SIDE))
        labels.append(np.asarray(batch[b"labels"], np.int64))
    return np.concatenate(labels), tuple(name.decode() for name in meta[b"label_names"])


def _missing(folder: Path, archive: Archive) -> list[str]:
    return [name for name in archive.files if not (folder / name).is_file()]


def _verified(path: Path, md5: str) -> bytes:
    content = path.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise EraError(f"{path} is damaged (its MD5 is not the published one): delete it, and era downloads it again")
    return content


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(1).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and plain values only: a matching MD5 does not rule out an attack."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}") from None


def _unpickle(content: bytes) -> Any:
    try:
        return _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, ValueError) as error:
        raise EraError(
            f"a CIFAR-10 file does not hold images ({error}): delete it, and era downloads it again"
        ) from error


def _download(folder: Path, missing: list[str], archive: Archive, timeout: float, listener: Listener) -> None:
    """Downloads the archive and extracts the missing files; a second era process waits for the first."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder, listener):
            if not (missing := _missing(folder, archive)):
                return
            archive_bytes = _fetch(archive, timeout, listener)
            with tarfile.open(fileobj=io.BytesIO(archive_bytes)) as tar:
                for name in missing:
                    member = tar.extractfile(f"{FOLDER}/{name}")
                    assert member is not None
                    with atomic_write(folder / name) as file:
                        file.write(member.read())
    except (OSError, KeyError, tarfile.TarError, http.client.HTTPException) as error:
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise EraError(
            f"CIFAR-10 is not in {folder} and could not be downloaded ({reason}): unpack {archive.url} there"
            " so that it holds data_batch_1, name another --data-dir, or try --data digits, which needs no download"
        ) from error


@contextlib.contextmanager
def _one_at_a_time(folder: Path, listener: Listener) -> Iterator[None]:
    lock = FileLock(folder / ".download.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        listener.note("Another era process is downloading CIFAR-10; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(archive: Archive, timeout: float, listener: Listener) -> bytes:
    if not archive.url.startswith(("https://", "http://127.0.0.1:")):
        raise OSError("its URL is not https")
    blocks = []
    with (
        urllib.request.urlopen(archive.url, timeout=timeout) as response,
        listener.work("downloading CIFAR-10", archive.size, "bytes") as advance,
    ):
        if response.geturl().split(":")[0] != archive.url.split(":")[0]:
            raise OSError(f"the server redirected to {response.geturl()}")
        while block := response.read(_BLOCK):
            blocks.append(block)
            advance(len(block))
    content = b"".join(blocks)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != archive.md5:
        raise OSError("the download is damaged")
    return content
