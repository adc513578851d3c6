from __future__ import annotations

import errno
import functools
import gc
import hashlib
import http.client
import io
import os
import pickle
import socket
import struct
import tarfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from era_cli.core.data import cifar10
from era_cli.core.data.cifar10 import FOLDER, META_FILE, PUBLISHED, TEST_FILE, TRAIN_FILES, Archive
from era_cli.core.data.dataset import Dataset, mean_and_std
from era_cli.errors import EraError
from era_cli.listener import Advance, Listener

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
    """A small archive laid out as the real one, and the arrays that are in it."""

    files: dict[str, bytes]
    images: dict[str, np.ndarray] = field(default_factory=dict)
    labels: dict[str, list[int]] = field(default_factory=dict)

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
    made = Published({})
    for name in (*TRAIN_FILES, TEST_FILE):
        made.images[name] = random.randint(0, 256, (PER_BATCH, 3, 32, 32)).astype(np.uint8)
        made.labels[name] = [int(label) for label in random.randint(0, 10, PER_BATCH)]
        flat = made.images[name].reshape(PER_BATCH, 3072)
        made.files[name] = pickled({b"batch_label": b"x", b"labels": made.labels[name], b"data": flat})
    made.files[META_FILE] = pickled({b"num_cases_per_batch": PER_BATCH, b"label_names": list(CLASSES)})
    return made


Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """A real HTTP server on this machine; what it answers may be changed, and it counts the requests."""

    def __init__(self, answer: Answer) -> None:
        self.requests = 0
        self.answer = answer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/cifar.tar.gz"


def sends(content: bytes, delay: float = 0.0) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(delay)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def sends_raw(content: bytes) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(content)

    return answer


def sends_on_to(url: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()


@pytest.fixture
def server(published: Published) -> Iterator[Server]:
    with serving(sends(published.packed)) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}/cifar.tar.gz"


def load(archive: Archive, data_dir: Path | None, *, timeout: float = 10.0, size: int = 32) -> Dataset:
    return cifar10.load(size, data_dir, Listener(), archive=archive, timeout=timeout)


def refusal(archive: Archive, data_dir: Path, *, timeout: float = 10.0) -> str:
    with pytest.raises(EraError) as caught:
        load(archive, data_dir, timeout=timeout)
    return str(caught.value)


def assert_says_how_to_go_on(sentence: str, data_dir: Path, archive: Archive) -> None:
    assert str(data_dir / FOLDER) in sentence
    assert archive.url in sentence
    assert "--data digits" in sentence
    assert "\n" not in sentence


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()} - {".download.lock"}


def assert_holds(dataset: Dataset, published: Published) -> None:
    names = (*TRAIN_FILES, TEST_FILE)
    np.testing.assert_array_equal(dataset.images, np.concatenate([published.images[name] for name in names]))
    assert dataset.labels.tolist() == [label for name in names for label in published.labels[name]]


# Found


def test_files_under_the_data_dir_are_read_without_a_request(
    tmp_path: Path, published: Published, server: Server
) -> None:
    published.unpack(tmp_path / FOLDER)
    dataset = load(published.at(server.url), tmp_path)
    assert_holds(dataset, published)
    assert dataset.images.dtype == np.uint8
    assert dataset.labels.dtype == np.int64
    assert dataset.classes == tuple(name.decode() for name in CLASSES)
    assert dataset.train.tolist() == list(range(20))
    assert dataset.test.tolist() == list(range(20, 24))
    assert (dataset.name, dataset.source, dataset.mirrors, dataset.files) == ("cifar10", "cifar10", True, None)
    assert server.requests == 0


def test_the_data_dir_may_be_the_folder_of_batches_itself(tmp_path: Path, published: Published, server: Server) -> None:
    published.unpack(tmp_path / "batches")
    assert_holds(load(published.at(server.url), tmp_path / "batches"), published)
    assert server.requests == 0
    assert left_in(tmp_path) == set(published.files)


def test_without_a_data_dir_the_files_go_to_the_users_cache(
    tmp_path: Path, published: Published, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10, "default_data_dir", lambda: tmp_path / "cache")
    assert_holds(load(published.at(server.url), None), published)
    assert left_in(tmp_path / "cache" / FOLDER) == set(published.files)


def test_another_image_size_resizes(tmp_path: Path, published: Published, server: Server) -> None:
    dataset = load(published.at(server.url), tmp_path, size=8)
    assert dataset.images.shape == (24, 3, 8, 8)
    assert dataset.image_size == 8


# Kept decoded


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Once called, any file of the published ones that is read fails the test."""

    def forbid() -> None:
        monkeypatch.setattr(cifar10, "_verified", lambda path, md5: pytest.fail(f"{path} was read"))

    return forbid


def test_the_second_load_maps_what_the_first_has_verified(
    tmp_path: Path, published: Published, closed_port: str, no_reading: Callable[[], None]
) -> None:
    published.unpack(tmp_path / FOLDER)
    first = load(published.at(closed_port), tmp_path)
    no_reading()
    again = load(published.at(closed_port), tmp_path)
    assert_holds(again, published)
    assert (again.content_hash, again.classes) == (first.content_hash, first.classes)
    for dataset in (first, again):
        assert isinstance(dataset.images, np.memmap)


def test_a_file_that_is_damaged_later_is_noticed_though_its_time_was_set_back(
    tmp_path: Path, published: Published, closed_port: str
) -> None:
    published.unpack(tmp_path / FOLDER)
    load(published.at(closed_port), tmp_path)
    damaged = tmp_path / FOLDER / "data_batch_4"
    status = damaged.stat()
    content = bytearray(damaged.read_bytes())
    content[-20] ^= 1
    damaged.write_bytes(content)
    os.utime(damaged, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert str(damaged) in refusal(published.at(closed_port), tmp_path)


def test_another_archive_is_not_taken_for_the_one_that_is_kept(
    tmp_path: Path, published: Published, closed_port: str
) -> None:
    published.unpack(tmp_path / FOLDER)
    archive = published.at(closed_port)
    load(archive, tmp_path)
    other = replace(archive, files={**archive.files, TEST_FILE: md5(b"another")})
    assert TEST_FILE in refusal(other, tmp_path)


def test_without_a_cache_that_can_be_written_the_images_are_read_all_the_same(
    tmp_path: Path, published: Published, closed_port: str
) -> None:
    published.unpack(tmp_path / FOLDER)
    (tmp_path / "file").touch()
    cache = tmp_path / "file" / "cache"
    for _ in range(2):
        dataset = cifar10.load(32, tmp_path, Listener(), archive=published.at(closed_port), cache_dir=cache)
        assert_holds(dataset, published)


def test_with_a_full_disk_under_the_cache_the_images_are_read_all_the_same(
    tmp_path: Path, published: Published, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    published.unpack(tmp_path / FOLDER)
    monkeypatch.setattr(Path, "write_text", write)
    cache = tmp_path / "cache"
    dataset = cifar10.load(32, tmp_path, Listener(), archive=published.at(closed_port), cache_dir=cache)
    assert_holds(dataset, published)
    assert list(cache.iterdir()) == []


# Downloaded


def test_absent_files_are_downloaded_once_and_found_the_next_time(
    tmp_path: Path, published: Published, server: Server
) -> None:
    data_dir = tmp_path / "not" / "yet"
    first = load(published.at(server.url), data_dir)
    second = load(published.at(server.url), data_dir)
    assert_holds(first, published)
    assert first.content_hash == second.content_hash
    assert server.requests == 1
    assert left_in(data_dir) == set(published.files)


def test_only_missing_files_are_taken_from_the_archive(tmp_path: Path, published: Published, server: Server) -> None:
    folder = tmp_path / FOLDER
    published.unpack(folder)
    (folder / "data_batch_3").unlink()
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert_holds(load(published.at(server.url), tmp_path), published)
    after = {path.name: path.stat().st_ino for path in folder.iterdir() if path.name in before}
    assert after == before
    assert server.requests == 1


def test_the_listener_hears_the_download_in_bytes(tmp_path: Path, published: Published, server: Server) -> None:
    heard: list[tuple[int | None, str]] = []
    arrived: list[int] = []

    class Ear(Listener):
        @contextmanager
        def work(self, what: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
            heard.append((total, unit))
            yield arrived.append

    archive = published.at(server.url)
    cifar10.load(32, tmp_path, Ear(), archive=archive, timeout=10)
    assert heard == [(len(published.packed), "bytes")]
    assert sum(arrived) == len(published.packed)


def test_two_downloads_at_once_fetch_the_archive_once(tmp_path: Path, published: Published) -> None:
    outcomes: list[Dataset | BaseException] = []
    start = threading.Barrier(2)

    def download(archive: Archive) -> None:
        start.wait()
        try:
            outcomes.append(load(archive, tmp_path))
        except BaseException as error:
            outcomes.append(error)

    with serving(sends(published.packed, delay=0.2)) as server:
        threads = [threading.Thread(target=download, args=(published.at(server.url),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.requests == 1
    for outcome in outcomes:
        assert isinstance(outcome, Dataset), outcome
        assert_holds(outcome, published)
    assert len(outcomes) == 2


# Not downloaded


def test_without_a_network_one_sentence_says_how_to_go_on(
    tmp_path: Path, published: Published, closed_port: str
) -> None:
    archive = published.at(closed_port)
    sentence = refusal(archive, tmp_path)
    assert_says_how_to_go_on(sentence, tmp_path, archive)
    assert "refused" in sentence
    assert left_in(tmp_path) == set()


def test_a_host_that_never_answers_is_given_up_after_the_timeout(tmp_path: Path, published: Published) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        archive = published.at(f"http://127.0.0.1:{silent.getsockname()[1]}/cifar.tar.gz")
        began = time.monotonic()
        sentence = refusal(archive, tmp_path, timeout=0.3)
        assert time.monotonic() - began < 5
    assert_says_how_to_go_on(sentence, tmp_path, archive)
    assert "timed out" in sentence


def test_a_server_that_stalls_halfway_is_given_up_and_leaves_nothing(tmp_path: Path, published: Published) -> None:
    given_up = threading.Event()

    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(published.packed)))
        handler.end_headers()
        handler.wfile.write(published.packed[: len(published.packed) // 2])
        handler.wfile.flush()
        given_up.wait(10)

    with serving(half) as server:
        archive = published.at(server.url)
        sentence = refusal(archive, tmp_path, timeout=0.3)
        given_up.set()
    assert_says_how_to_go_on(sentence, tmp_path, archive)
    assert left_in(tmp_path) == set()


def test_an_archive_that_arrives_cut_short_leaves_nothing(tmp_path: Path, published: Published) -> None:
    with serving(sends(published.packed[:-10])) as server:
        archive = published.at(server.url)
        sentence = refusal(archive, tmp_path)
    assert_says_how_to_go_on(sentence, tmp_path, archive)
    assert "damaged" in sentence
    assert left_in(tmp_path) == set()


def test_another_archive_of_the_same_size_leaves_nothing(tmp_path: Path, published: Published, server: Server) -> None:
    archive = replace(published.at(server.url), md5=md5(b"another"))
    sentence = refusal(archive, tmp_path)
    assert_says_how_to_go_on(sentence, tmp_path, archive)
    assert left_in(tmp_path) == set()


def test_a_missing_page_ends_in_the_same_sentence(tmp_path: Path, published: Published) -> None:
    with serving(lambda handler: handler.send_error(404)) as server:
        archive = published.at(server.url)
        assert_says_how_to_go_on(refusal(archive, tmp_path), tmp_path, archive)
    gc.collect()  # an answer left open warns here, rather than in some later test


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"Please log in to this hotel's network\r\n\r\n", id="no-http"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nabc", id="broken-chunk"),
    ],
)
def test_a_server_that_breaks_the_protocol_ends_in_the_same_sentence(
    tmp_path: Path, published: Published, raw: bytes
) -> None:
    with serving(sends_raw(raw)) as server:
        archive = published.at(server.url)
        assert_says_how_to_go_on(refusal(archive, tmp_path), tmp_path, archive)


def test_a_disk_that_fills_up_leaves_only_whole_files(
    tmp_path: Path, published: Published, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    assert "No space left" in refusal(published.at(server.url), tmp_path)
    left = {name: (tmp_path / FOLDER / name).read_bytes() for name in left_in(tmp_path)}
    assert 0 < len(left) < len(published.files)
    assert left.items() <= published.files.items()


def test_a_data_dir_that_cannot_be_written_ends_in_the_same_sentence(
    tmp_path: Path, published: Published, server: Server
) -> None:
    (tmp_path / "file").write_text("in the way")
    archive = published.at(server.url)
    assert_says_how_to_go_on(refusal(archive, tmp_path / "file"), tmp_path / "file", archive)


def test_an_address_that_is_not_https_is_never_asked(tmp_path: Path, published: Published) -> None:
    (tmp_path / "archive").write_bytes(published.packed)
    for url in ("http://localhost:1/cifar.tar.gz", (tmp_path / "archive").as_uri()):
        assert "not https" in refusal(published.at(url), tmp_path / "data")


def test_a_redirect_from_https_to_http_is_refused(
    tmp_path: Path, published: Published, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutTls(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(http.client.HTTPConnection, req)

    monkeypatch.setattr(urllib.request, "_opener", urllib.request.build_opener(WithoutTls))
    with serving(sends_on_to(server.url)) as front:
        archive = published.at(front.url.replace("http:", "https:"))
        sentence = refusal(archive, tmp_path)
        assert front.requests == 1
    assert f"sent us on to {server.url}" in sentence
    assert left_in(tmp_path) == set()


def test_a_redirect_within_the_scheme_is_followed(tmp_path: Path, published: Published, server: Server) -> None:
    with serving(sends_on_to(server.url)) as front:
        assert_holds(load(published.at(front.url), tmp_path), published)


# Not trusted


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
def test_a_tampered_file_is_named_with_the_mend(
    tmp_path: Path, published: Published, server: Server, name: str
) -> None:
    published.unpack(tmp_path / FOLDER)
    tampered = tmp_path / FOLDER / name
    content = bytearray(tampered.read_bytes())
    content[-20] ^= 1
    tampered.write_bytes(content)
    sentence = refusal(published.at(server.url), tmp_path)
    assert str(tampered) in sentence
    assert "delete it" in sentence
    assert server.requests == 0
    tampered.unlink()
    assert_holds(load(published.at(server.url), tmp_path), published)


def calling(module: str, name: str, argument: bytes) -> bytes:
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(U" + bytes([len(argument)]) + argument + b"tR."


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("numpy", "load"), ("numpy.core.multiarray", "x")],
)
def test_a_pickle_that_calls_anything_else_is_refused_though_its_sum_is_right(
    tmp_path: Path, published: Published, closed_port: str, module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = b"__import__('pathlib').Path('pwned').touch()" if name == "eval" else b"touch pwned"
    published.files["data_batch_1"] = calling(module, name, code)
    published.unpack(tmp_path / FOLDER)
    sentence = refusal(published.at(closed_port), tmp_path)
    assert f"{module}.{name}" in sentence
    assert not (tmp_path / "pwned").exists()


def test_the_malicious_pickle_of_these_tests_would_work_on_the_plain_unpickler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(calling("os", "system", b"touch pwned"))
    assert (tmp_path / "pwned").exists()


# Published


def test_the_address_and_the_sums_are_torchvisions() -> None:
    from torchvision.datasets import CIFAR10

    files = dict([*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])])
    assert (PUBLISHED.url, PUBLISHED.md5, dict(PUBLISHED.files)) == (CIFAR10.url, CIFAR10.tgz_md5, files)
    assert CIFAR10.base_folder == FOLDER


@functools.cache
def the_real_one(data_dir: Path) -> Dataset:
    return cifar10.load(32, data_dir, Listener())


@pytest.mark.cifar10
def test_the_real_images_have_their_shape_split_and_names(cifar10_dir: Path) -> None:
    dataset = the_real_one(cifar10_dir)
    assert dataset.images.shape == (60_000, 3, 32, 32)
    assert dataset.images.dtype == np.uint8
    assert dataset.train.tolist() == list(range(50_000))
    assert dataset.test.tolist() == list(range(50_000, 60_000))
    assert dataset.classes == (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    assert np.bincount(dataset.labels[dataset.train]).tolist() == [5_000] * 10
    assert np.bincount(dataset.labels[dataset.test]).tolist() == [1_000] * 10


@pytest.mark.cifar10
def test_the_real_training_split_has_the_published_mean_and_deviation(cifar10_dir: Path) -> None:
    dataset = the_real_one(cifar10_dir)
    mean, std = mean_and_std(dataset.images, dataset.train)
    assert mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=1e-4)
    assert std == pytest.approx((0.2470, 0.2435, 0.2616), abs=1e-4)
