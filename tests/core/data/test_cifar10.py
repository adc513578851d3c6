from __future__ import annotations

import errno
import functools
import gc
import hashlib
import http.client
import importlib.util
import io
import os
import pickle
import re
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from filelock import FileLock

from era_cli.core.data import cifar10, download
from era_cli.core.data.cifar10 import FOLDER, META_FILE, PUBLISHED, TEST_FILE, TRAIN_FILES, Archive
from era_cli.core.data.dataset import Dataset, mean_and_std
from era_cli.errors import EraError
from era_cli.listener import Advance, Listener
from tests.core.data.support import Ear, reference_hash, stored_hashes

CLASSES = (b"plane", b"car", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck")
PER_BATCH = 4
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n"


def pickled(value: object) -> bytes:
    """The published files come from Python 2: byte strings and NumPy's old module names, in protocol 2."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: object) -> bytes:
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, list):
        return b"](" + b"".join(map(_opcodes, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_opcodes(key) + _opcodes(item) for key, item in value.items()) + b"u"
    assert isinstance(value, np.ndarray)
    assert value.dtype == np.uint8
    empty = ARRAY + b"(cnumpy\nndarray\n(K\x00tU\x01btR"
    kind = b"(cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"(" + b"".join(_opcodes(side) for side in value.shape) + b"t"
    return empty + b"(K\x01" + shape + kind[1:] + b"I00\n" + _opcodes(value.tobytes()) + b"tb"


@dataclass
class Published:
    """A small archive with the layout of the real one, and the arrays in it."""

    files: dict[str, bytes]
    images: list[np.ndarray] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    @functools.cached_property
    def packed(self) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            for name, content in self.files.items():
                info = tarfile.TarInfo(f"{FOLDER}/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return out.getvalue()

    def at(self, url: str) -> Archive:
        sums = {name: md5(content) for name, content in self.files.items()}
        return Archive(url=url, size=len(self.packed), md5=md5(self.packed), files=sums)

    def unpack(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def published() -> Published:
    random = np.random.RandomState(0)
    archive = Published({})
    for name in (*TRAIN_FILES, TEST_FILE):
        images = random.randint(0, 256, (PER_BATCH, 3, 32, 32)).astype(np.uint8)
        labels = [int(label) for label in random.randint(0, 10, PER_BATCH)]
        archive.images.append(images)
        archive.labels += labels
        flat = images.reshape(PER_BATCH, 3072)
        archive.files[name] = pickled({b"batch_label": b"x", b"labels": labels, b"data": flat})
    archive.files[META_FILE] = pickled({b"num_cases_per_batch": PER_BATCH, b"label_names": list(CLASSES)})
    return archive


@dataclass
class Server:
    """A real HTTP server on this machine, and the paths that were requested."""

    url: str
    requests: list[str] = field(default_factory=list)


@contextmanager
def serving(answer: bytes, delay: float = 0.0, hold: float = 0.0, drip: int | None = None) -> Iterator[Server]:
    """Answers each request with these bytes after `delay` seconds, and closes the connection `hold` seconds later.

    From byte `drip` on they come one at a time, for as long as the client waits.
    """
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.requests.append(self.path)
            time.sleep(delay)
            self.wfile.write(answer[:drip])
            for byte in answer[drip:] if drip is not None else b"":
                if closing.wait(0.05):
                    return
                self.wfile.write(bytes([byte]))
            time.sleep(hold)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        running = Server(f"http://127.0.0.1:{http_server.server_port}/cifar.tar.gz")
        thread = threading.Thread(target=http_server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield running
        finally:
            closing.set()
            http_server.shutdown()
            thread.join()


def ok(content: bytes, length: int | None = None) -> bytes:
    return b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % (length or len(content)) + content


def redirect(url: str) -> bytes:
    return f"HTTP/1.0 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.fixture
def server(published: Published) -> Iterator[Server]:
    with serving(ok(published.packed)) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}/cifar.tar.gz"


def load(archive: Archive, data_dir: Path | None, *, timeout: float = 10.0, size: int = 32, **options: Any) -> Dataset:
    return cifar10.load(
        size, data_dir, options.pop("listener", Listener()), archive=archive, timeout=timeout, **options
    )


def refusal(archive: Archive, data_dir: Path, *, timeout: float = 10.0) -> str:
    with pytest.raises(EraError) as caught:
        load(archive, data_dir, timeout=timeout)
    return str(caught.value)


def assert_names_every_way_out(sentence: str, data_dir: Path, archive: Archive) -> None:
    for fragment in (str(data_dir / FOLDER), archive.url, "--data-dir", "--data digits"):
        assert fragment in sentence
    assert "\n" not in sentence


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()} - {".download.lock"}


def assert_holds(dataset: Dataset, published: Published) -> None:
    np.testing.assert_array_equal(dataset.images, np.concatenate(published.images))
    assert dataset.labels.tolist() == published.labels
    assert dataset.content_hash == reference_hash(dataset)


# Present


@pytest.mark.parametrize("folder", [FOLDER, "."])
def test_present_files_are_read_without_a_request(
    tmp_path: Path, published: Published, server: Server, folder: str
) -> None:
    published.unpack(tmp_path / "data" / folder)
    dataset = load(published.at(server.url), tmp_path / "data")
    assert_holds(dataset, published)
    assert dataset.images.dtype == np.uint8
    assert dataset.labels.dtype == np.int64
    assert dataset.classes == tuple(name.decode() for name in CLASSES)
    assert dataset.train.tolist() == list(range(20))
    assert dataset.test.tolist() == list(range(20, 24))
    assert (dataset.name, dataset.source, dataset.mirrors, dataset.files) == ("cifar10", "cifar10", True, None)
    assert not server.requests
    assert files_in(tmp_path / "data") == set(published.files)


def test_a_folder_that_may_not_be_entered_is_named(
    tmp_path: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_file(path: Path) -> NoReturn:  # as for anybody but root, whom no permission stops
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", is_file)
    assert f"CIFAR-10 in {tmp_path} cannot be read (Permission denied): fix" in refusal(
        published.at("https://localhost"), tmp_path
    )


# Cached


@pytest.fixture
def unpacked(tmp_path: Path, published: Published, closed_port: str) -> Archive:
    published.unpack(tmp_path / FOLDER)
    return published.at(closed_port)


def test_the_second_load_maps_the_cached_images(
    tmp_path: Path, published: Published, unpacked: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(unpacked, tmp_path)
    monkeypatch.setattr(cifar10, "_verified", lambda path, md5: pytest.fail(f"{path} was read"))
    again = load(unpacked, tmp_path)
    for dataset in (first, again):
        assert_holds(dataset, published)
        assert isinstance(dataset.images, np.memmap)
    assert again.classes == first.classes


def test_resized_images_are_hashed_themselves(tmp_path: Path, unpacked: Archive) -> None:
    cache = tmp_path / "cache"
    for size in (8, 32, 8):
        dataset = load(unpacked, tmp_path, size=size, cache_dir=cache)
        assert dataset.images.shape == (24, 3, size, size)
        assert dataset.content_hash == reference_hash(dataset) == dataset.content_hash_with(dataset.test)
    assert len(stored_hashes(cache)) == 1


def test_later_damage_is_noticed_despite_a_reset_time(tmp_path: Path, unpacked: Archive) -> None:
    load(unpacked, tmp_path)
    damaged = tmp_path / FOLDER / "data_batch_4"
    status = damaged.stat()
    flip_a_bit(damaged)
    os.utime(damaged, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert str(damaged) in refusal(unpacked, tmp_path)


@pytest.mark.parametrize("full", [False, True])
def test_an_unusable_cache_does_not_matter(
    tmp_path: Path, published: Published, unpacked: Archive, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").touch()
    cache = tmp_path / "cache" if full else tmp_path / "file" / "cache"
    monkeypatch.setattr(Path, "write_text", write)
    for _ in range(2):
        assert_holds(load(unpacked, tmp_path, cache_dir=cache), published)
    assert not full or list(cache.iterdir()) == []


# Downloaded


def test_absent_files_are_downloaded_once(
    tmp_path: Path, published: Published, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10, "default_data_dir", lambda: tmp_path / "not" / "yet")
    ear = Ear()
    for _ in range(2):
        assert_holds(load(published.at(server.url), None, listener=ear), published)
    assert len(server.requests) == 1
    assert files_in(tmp_path / "not" / "yet" / FOLDER) == set(published.files)
    assert ear.works == [("downloading CIFAR-10", len(published.packed), "bytes")]
    assert ear.done == len(published.packed)


def test_only_missing_files_are_extracted(tmp_path: Path, published: Published, server: Server) -> None:
    folder = tmp_path / FOLDER
    published.unpack(folder)
    (folder / "data_batch_3").unlink()
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert_holds(load(published.at(server.url), tmp_path), published)
    assert {name: (folder / name).stat().st_ino for name in before} == before


def test_a_second_download_waits_for_the_first(tmp_path: Path, published: Published) -> None:
    ear = Ear()
    with serving(ok(published.packed), delay=0.2) as server, ThreadPoolExecutor() as pool:
        archive = published.at(server.url)
        for outcome in [pool.submit(load, archive, tmp_path, listener=ear) for _ in range(2)]:
            assert_holds(outcome.result(), published)
        assert len(server.requests) == 1
    assert ear.notes == ["Another era process is downloading CIFAR-10; waiting for it."]


def test_a_redirect_within_the_scheme_is_followed(tmp_path: Path, published: Published, server: Server) -> None:
    with serving(redirect(server.url)) as front:
        assert_holds(load(published.at(front.url), tmp_path), published)


# Not downloaded


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nabc"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(lambda packed: ok(packed[:-10]), "the download is damaged", id="cut-short"),
        pytest.param(lambda packed: ok(packed[:-1] + b"?"), "the download is damaged", id="other-content"),
        pytest.param(lambda packed: ok(packed[:99], len(packed)), "timed out", id="stalls"),
        pytest.param(lambda packed: b"HTTP/1.0 404 Not Found\r\n\r\n", "Not Found", id="missing"),
        pytest.param(lambda packed: b"HTTP/1.0 500 Oh No\r\n\r\n", "Oh No", id="broken"),
        pytest.param(lambda packed: redirect("/cifar.tar.gz"), "Found", id="in-circles"),
        pytest.param(lambda packed: redirect("file:///etc/passwd"), "file:///etc/passwd", id="to-a-file"),
        pytest.param(lambda packed: ok(b"0" * 9_000_000), "the server sent more than", id="without-end"),
        pytest.param(lambda packed: b"Please log in to this hotel's network\r\n\r\n", "", id="not-http"),
        pytest.param(lambda packed: CHUNKED, "", id="broken-chunk"),
    ],
)
def test_a_failed_download_leaves_nothing(
    tmp_path: Path, published: Published, answer: Callable[[bytes], bytes], reason: str
) -> None:
    hold = 0.4 if reason == "timed out" else 0.0
    with serving(answer(published.packed), hold=hold) as server:
        archive = published.at(server.url)
        sentence = refusal(archive, tmp_path, timeout=0.2)
    gc.collect(1)  # a response left open warns here, rather than in some later test
    assert_names_every_way_out(sentence, tmp_path, archive)
    assert reason in sentence
    assert files_in(tmp_path) == set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib leaves the response open
def test_a_redirect_to_no_url_is_refused(tmp_path: Path, published: Published) -> None:
    with serving(redirect("http://[")) as server:
        archive = published.at(server.url)
        sentence = refusal(archive, tmp_path)
        gc.collect()
    assert_names_every_way_out(sentence, tmp_path, archive)
    assert "Invalid IPv6 URL" in sentence


@pytest.mark.parametrize("drip", [0, 20, 60])  # the status line, the headers, the body
def test_a_server_that_drips_times_out(tmp_path: Path, published: Published, drip: int) -> None:
    began = time.monotonic()
    with serving(ok(published.packed), drip=drip) as server:
        assert "timed out" in refusal(published.at(server.url), tmp_path, timeout=0.3)
    assert time.monotonic() - began < 5
    assert files_in(tmp_path) == set()


def repack(published: Published, change: Callable[[tarfile.TarFile, tarfile.TarInfo], None]) -> None:
    """Packs the files again, with what `change` adds in the place of data_batch_2."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in published.files.items():
            info = tarfile.TarInfo(f"{FOLDER}/{name}")
            info.size = len(content)
            if name == "data_batch_2":
                change(tar, info)
            else:
                tar.addfile(info, io.BytesIO(content))
    published.packed = out.getvalue()


def instead(kind: bytes) -> Callable[[tarfile.TarFile, tarfile.TarInfo], None]:
    def add(tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        info.type, info.size, info.linkname = kind, 0, "/etc/passwd"
        tar.addfile(info)

    return add


def huge(tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
    info.size = 10**12
    tar.addfile(info)


def escaping(tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
    info.name = f"{FOLDER}/../../data_batch_2"
    tar.addfile(info, io.BytesIO(b"?" * info.size))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(instead(tarfile.SYMTYPE), "data_batch_2 in it is not the published file", id="link"),
        pytest.param(instead(tarfile.LNKTYPE), "data_batch_2 in it is not the published file", id="hard-link"),
        pytest.param(instead(tarfile.DIRTYPE), "data_batch_2 in it is not the published file", id="folder"),
        pytest.param(instead(tarfile.FIFOTYPE), "data_batch_2 in it is not the published file", id="pipe"),
        pytest.param(huge, "data_batch_2 in it is larger than 100 MB", id="huge"),
        pytest.param(escaping, "it does not contain cifar-10-batches-py/data_batch_2", id="escaping"),
        pytest.param(lambda tar, info: None, "it does not contain cifar-10-batches-py/data_batch_2", id="lacking"),
        pytest.param(None, "end", id="cut-off"),
    ],
)
def test_an_archive_of_other_members_is_refused(tmp_path: Path, published: Published, change: Any, reason: str) -> None:
    if change is None:
        published.packed = published.packed[: len(published.packed) // 2]
    else:
        repack(published, change)
    with serving(ok(published.packed)) as server:
        archive = published.at(server.url)
        sentence = refusal(archive, tmp_path / "data")
    assert_names_every_way_out(sentence, tmp_path / "data", archive)
    assert reason in sentence
    left = {name: (tmp_path / "data" / FOLDER / name).read_bytes() for name in files_in(tmp_path / "data")}
    assert left.items() < published.files.items()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_download_that_never_ends_elsewhere_is_not_waited_for(
    tmp_path: Path, published: Published, closed_port: str
) -> None:
    (tmp_path / FOLDER).mkdir()
    ear = Ear()
    with FileLock(tmp_path / FOLDER / ".download.lock"), pytest.raises(EraError) as caught:
        load(published.at(closed_port), tmp_path, patience=0.1, listener=ear)
    assert f"another process that is downloading CIFAR-10 into {tmp_path / FOLDER}" in str(caught.value)
    assert ear.notes == ["Another era process is downloading CIFAR-10; waiting for it."]


def test_a_slow_download_elsewhere_is_waited_for_while_it_progresses(
    tmp_path: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, pause = 12, 0.1  # together longer than the patience
    monkeypatch.setattr(download, "BLOCK", len(published.packed) // blocks)

    class Slow(Ear):
        @contextmanager
        def work(self, what: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
            with super().work(what, total, unit) as advance:

                def slowly(count: int) -> None:
                    time.sleep(pause)
                    advance(count)

                yield slowly

    ear = Slow()
    with serving(ok(published.packed)) as server, ThreadPoolExecutor() as pool:
        archive = published.at(server.url)
        for outcome in [pool.submit(load, archive, tmp_path, listener=ear, patience=0.5) for _ in range(2)]:
            assert_holds(outcome.result(), published)
        assert len(server.requests) == 1
    assert ear.notes == ["Another era process is downloading CIFAR-10; waiting for it."]


def test_a_slow_disk_does_not_gather_the_download_in_memory(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[object] = []
    ahead: list[int] = []

    class SlowDisk(io.BytesIO):
        def write(self, block: Any) -> int:
            time.sleep(0.01)
            ahead.append(len(received) - len(ahead))
            return super().write(block)

    put = download._put

    def counted(*arguments: Any) -> None:
        put(*arguments)
        received.append(arguments)

    monkeypatch.setattr(download, "_put", counted)
    monkeypatch.setattr(download, "_MOST_WAITING", 3)
    monkeypatch.setattr(download, "BLOCK", len(published.packed) // 20)
    with serving(ok(published.packed)) as server:
        archive = published.at(server.url)
        download.fetch(
            archive.url,
            size=archive.size,
            md5=archive.md5,
            file=SlowDisk(),
            what="CIFAR-10",
            timeout=10,
            progressed=lambda: None,
            listener=Listener(),
        )
    assert len(received) >= 20
    assert max(ahead) <= 3 + 1  # the one that is being written


def test_ctrl_c_ends_a_download_and_leaves_nothing(tmp_path: Path, published: Published) -> None:
    program = (
        "import sys; from pathlib import Path; from era_cli.core.data import cifar10\n"
        "from era_cli.listener import Listener\n"
        "archive = cifar10.Archive(url=sys.argv[1], size=10**6, md5='', files={'data_batch_1': ''})\n"
        "print('begun', flush=True); cifar10.load(32, Path(sys.argv[2]), Listener(), archive=archive)\n"
    )
    with serving(ok(b"0" * 600_000, 10**6), hold=20) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", program, server.url, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            while not server.requests:
                time.sleep(0.01)
            time.sleep(0.1)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) != 0
            assert time.monotonic() - began < 5
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link"])
def test_what_is_in_the_place_of_a_file_is_named(
    tmp_path: Path, published: Published, closed_port: str, kind: str
) -> None:
    published.unpack(tmp_path / FOLDER)
    path = tmp_path / FOLDER / "data_batch_1"
    path.unlink()
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "dangling link": lambda: path.symlink_to("no")}[kind]()
    assert f"{path} is not a file: remove it" in refusal(published.at(closed_port), tmp_path)


def test_without_a_network_the_error_names_every_way_out(
    tmp_path: Path, published: Published, closed_port: str
) -> None:
    archive = published.at(closed_port)
    sentence = refusal(archive, tmp_path)
    assert_names_every_way_out(sentence, tmp_path, archive)
    assert "refused" in sentence


def test_a_silent_host_times_out(tmp_path: Path, published: Published) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        archive = published.at(f"http://127.0.0.1:{silent.getsockname()[1]}/cifar.tar.gz")
        began = time.monotonic()
        sentence = refusal(archive, tmp_path, timeout=0.2)
        assert time.monotonic() - began < 5
    assert_names_every_way_out(sentence, tmp_path, archive)
    assert "timed out" in sentence


def test_a_full_disk_leaves_only_whole_files(
    tmp_path: Path, published: Published, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    assert "No space left" in refusal(published.at(server.url), tmp_path)
    left = {name: (tmp_path / FOLDER / name).read_bytes() for name in files_in(tmp_path)}
    assert 0 < len(left) < len(published.files)
    assert left.items() <= published.files.items()


def test_an_unwritable_data_dir_is_refused(tmp_path: Path, published: Published, server: Server) -> None:
    (tmp_path / "file").write_text("in the way")
    archive = published.at(server.url)
    assert_names_every_way_out(refusal(archive, tmp_path / "file"), tmp_path / "file", archive)


def test_a_redirect_from_https_to_http_is_refused(
    tmp_path: Path, published: Published, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutTls(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(http.client.HTTPConnection, req)

    monkeypatch.setattr(urllib.request, "_opener", urllib.request.build_opener(WithoutTls))
    with serving(redirect(server.url)) as front:
        sentence = refusal(published.at(front.url.replace("http:", "https:")), tmp_path)
    assert f"redirected to {server.url}" in sentence
    assert files_in(tmp_path) == set()


# Not trusted


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["data_batch_2", "batches.meta"])
def test_a_tampered_file_is_named(tmp_path: Path, published: Published, server: Server, name: str) -> None:
    published.unpack(tmp_path / FOLDER)
    tampered = tmp_path / FOLDER / name
    flip_a_bit(tampered)
    assert f"{tampered} is damaged" in refusal(published.at(server.url), tmp_path)
    assert not server.requests
    tampered.unlink()
    assert_holds(load(published.at(server.url), tmp_path), published)


def calling(module: str, name: str, argument: bytes) -> bytes:
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(U" + bytes([len(argument)]) + argument + b"tR."


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("numpy", "load"), ("numpy.core.multiarray", "x")],
)
def test_a_pickle_that_calls_anything_else_is_refused(
    tmp_path: Path, published: Published, closed_port: str, module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = b"__import__('pathlib').Path('pwned').touch()" if name == "eval" else b"touch pwned"
    published.files["data_batch_1"] = calling(module, name, code)  # its MD5 is right
    published.unpack(tmp_path / FOLDER)
    assert f"{module}.{name}" in refusal(published.at(closed_port), tmp_path)
    assert not (tmp_path / "pwned").exists()


IMAGES = np.zeros((PER_BATCH, 3072), np.uint8)
SHAPE = b"J" + struct.pack("<i", PER_BATCH) + b"J" + struct.pack("<i", 3072)


def batch(**changes: object) -> bytes:
    values: dict[object, object] = {b"labels": [0] * PER_BATCH, b"data": IMAGES}
    values |= {name.encode(): value for name, value in changes.items()}
    return pickled({name: value for name, value in values.items() if value is not None})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (batch(labels=[0, 1, 2, 10]), "its labels are not numbers from 0 to 9"),
        (batch(labels=[0, 1, 2, -1]), "its labels are not numbers from 0 to 9"),
        (batch(labels=[0, 1, 2, b"cat"]), "its labels are not numbers from 0 to 9"),
        (batch(labels=[0, 1, 2]), "it does not hold a label for each image"),
        (batch(labels=None), "it does not hold a label for each image"),
        (batch(data=None), "it does not hold an array of images"),
        (batch(data=b"text"), "it does not hold an array of images"),
        (batch(data=IMAGES[:, :-1]), "its images have the shape (4, 3071)"),
        (batch(data=IMAGES.reshape(4, 3, 32, 32)), "its images have the shape (4, 3, 32, 32)"),
        (batch(data=IMAGES[:0], labels=[]), "its images have the shape (0, 3072)"),
        (batch(data=IMAGES[:2], labels=[0, 1]), "it holds 2 images"),
        (batch().replace(SHAPE, b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f"), "cannot reshape"),
        (batch().replace(b"U\x02u1", b"U\x02f8"), "its images are not bytes"),
        (pickled([1, 2]), "it does not hold a dictionary"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "it asks for more memory"),
        (b"\x80\x02\x8a\xff.", ""),
        (b"\x80\x05\x96" + struct.pack("<Q", 6 * 10**9) + b".", "expected 6000000000 bytes"),
        (b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftR.", "it does not hold a dictionary"),
        (b"", ""),
    ],
)
def test_other_content_of_the_right_checksum_is_named(
    tmp_path: Path, published: Published, closed_port: str, content: bytes, reason: str
) -> None:
    published.files["data_batch_3"] = content
    published.unpack(tmp_path / FOLDER)
    sentence = refusal(published.at(closed_port), tmp_path)
    assert f"{tmp_path / FOLDER / 'data_batch_3'} does not hold the data of CIFAR-10 ({reason}" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "names", [None, b"cat", [*CLASSES[:9]], [*CLASSES[:9], CLASSES[0]], [*CLASSES[:9], 5], [*CLASSES[:9], b"\xff"]]
)
def test_other_class_names_are_refused(tmp_path: Path, published: Published, closed_port: str, names: object) -> None:
    published.files[META_FILE] = pickled({b"label_names": names} if names else {})
    published.unpack(tmp_path / FOLDER)
    assert f"{META_FILE} does not hold the data of CIFAR-10" in refusal(published.at(closed_port), tmp_path)


def test_that_pickle_works_on_the_plain_unpickler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(calling("os", "system", b"touch pwned"))
    assert (tmp_path / "pwned").exists()


# Published


def test_the_url_and_the_md5s_are_torchvisions() -> None:
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    source = (Path(spec.origin).parent / "datasets" / "cifar.py").read_text()
    of_cifar10, _, _ = source.partition("class CIFAR100")
    assert re.findall(r'"([0-9a-f]{32})"', of_cifar10) == [PUBLISHED.md5, *PUBLISHED.files.values()]
    for text in (PUBLISHED.url, FOLDER, *PUBLISHED.files):
        assert f'"{text}"' in of_cifar10


@pytest.mark.cifar10
def test_the_real_cifar10(cifar10_dir: Path) -> None:
    dataset = cifar10.load(32, cifar10_dir, Listener())
    assert dataset.images.shape == (60_000, 3, 32, 32)
    assert dataset.train.tolist() == list(range(50_000))
    assert dataset.test.tolist() == list(range(50_000, 60_000))
    assert " ".join(dataset.classes) == "airplane automobile bird cat deer dog frog horse ship truck"
    assert dataset.class_counts(dataset.train).tolist() == [5_000] * 10
    assert dataset.class_counts(dataset.test).tolist() == [1_000] * 10
    mean, std = mean_and_std(dataset.images, dataset.train)
    assert mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=1e-4)
    assert std == pytest.approx((0.2470, 0.2435, 0.2616), abs=1e-4)
    assert dataset.content_hash == "b01750c2e0d604929f1d88fe4a318bc79032c35b1cdc2f8721e3ab1ca03504c7"
