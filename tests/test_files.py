from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import pytest

from era_cli.errors import EraError
from era_cli.files import (
    TEMPORARY_SUFFIX,
    atomic_link,
    atomic_write,
    atomic_write_json,
    atomic_write_text,
    sweep_temporaries,
)

posix_only = pytest.mark.skipif(os.name != "posix", reason="permission bits, links and signals of POSIX")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Writing


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127)
    atomic_write_text(path, "whole")
    assert names(tmp_path) == [path.name]
    with pytest.raises(EraError, match="use a shorter name"):
        atomic_write_text(tmp_path / ("é" * 128), "whole")


def test_readers_see_the_old_content_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new" * 100_000)
        file.write(b"est")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" * 100_000 + b"est"
    assert names(tmp_path) == ["a"]


def write_half(path: Path, error: type[BaseException]) -> None:
    with atomic_write(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, EraError])
def test_an_exception_leaves_everything_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "a").write_bytes(b"old")
    for name in ("a", "b"):
        with pytest.raises(error):
            write_half(tmp_path / name, error)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_failing_sync_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(EraError, match="No such file"):
        atomic_write_text(tmp_path / "absent" / "a", "text")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(EraError, match="Input/output"):
        atomic_write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


@posix_only
def test_a_file_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bool]] = []

    def fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        synced.append((kind, (tmp_path / "a").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    atomic_write_text(tmp_path / "a", "new")
    assert synced == [("file", False), ("folder", True)]


@posix_only
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        atomic_write_text(tmp_path / "a", "text")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_two_writers_of_one_file_leave_one_of_the_two_contents(tmp_path: Path) -> None:
    contents = ["a" * 50_000, "b" * 50_000]

    def write(content: str) -> None:
        for _ in range(5):
            atomic_write_text(tmp_path / "a", content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_text() in contents
    assert names(tmp_path) == ["a"]


@posix_only
def test_kill_9_leaves_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    program = (
        "import sys, os; from pathlib import Path; from era_cli.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as file:\n"
        "    file.write(b'new'); file.flush(); os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path / "a"]).returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_text() == "old"
    assert len(names(tmp_path)) == 2
    sweep_temporaries(tmp_path)
    assert names(tmp_path) == ["a"]


def test_json_is_readable_and_carries_any_file_name(tmp_path: Path) -> None:
    atomic_write_json(tmp_path / "a", {"name": "猫", "rate": 0.1})
    assert (tmp_path / "a").read_bytes() == '{\n  "name": "猫",\n  "rate": 0.1\n}\n'.encode()
    name = b"\xff.png".decode(errors="surrogateescape")
    atomic_write_json(tmp_path / "a", {"name": name})
    assert json.loads((tmp_path / "a").read_text(encoding="utf-8")) == {"name": name}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), object()])
def test_what_json_cannot_hold_is_refused(tmp_path: Path, value: Any) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises((ValueError, TypeError)):
        atomic_write_json(tmp_path / "a", {"value": value})
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


# Linking


def test_a_link_outlives_and_outdates_its_source(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"content")
    target.write_bytes(b"old")
    (tmp_path / f".target.{os.getpid()}{TEMPORARY_SUFFIX}").write_bytes(b"left by a killed era")
    for _ in range(2):
        atomic_link(source, target)
        assert target.samefile(source)
    atomic_write_text(source, "newer")
    assert target.read_bytes() == b"content"
    source.unlink()
    assert names(tmp_path) == ["target"]


def test_without_hard_links_the_content_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hardlink_to(self: Path, target: Path) -> NoReturn:
        raise OSError(errno.EPERM, "Operation not permitted")

    content = os.urandom(3 << 20)
    (tmp_path / "source").write_bytes(content)
    monkeypatch.setattr(Path, "hardlink_to", hardlink_to)
    atomic_link(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == content
    assert not (tmp_path / "target").samefile(tmp_path / "source")
    assert names(tmp_path) == ["source", "target"]


def test_an_absent_source_leaves_the_target_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    with pytest.raises(EraError, match="No such file"):
        atomic_link(tmp_path / "absent", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"old"
    assert names(tmp_path) == ["target"]


# Sweeping


def test_only_temporary_files_are_swept(tmp_path: Path) -> None:
    kept = ["a", f"a{TEMPORARY_SUFFIX}", ".lock", ".hidden"]
    for name in [*kept, f".a.x1{TEMPORARY_SUFFIX}", f".b.x2{TEMPORARY_SUFFIX}"]:
        (tmp_path / name).touch()
    sweep_temporaries(tmp_path)
    assert names(tmp_path) == sorted(kept)


# A full disk


def test_a_full_disk_keeps_the_old_content(tiny_disk: Path) -> None:
    atomic_write_text(tiny_disk / "a", "old")
    with pytest.raises(EraError, match="No space left"):
        atomic_write_text(tiny_disk / "a", "x" * 300_000)
    assert (tiny_disk / "a").read_text() == "old"
    assert names(tiny_disk) == ["a"]


def test_a_copy_to_a_full_disk_keeps_the_old_target(tiny_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("old")
    atomic_link(tmp_path / "source", tiny_disk / "target")
    (tmp_path / "source").write_bytes(bytes(300_000))
    with pytest.raises(EraError, match="No space left"):
        atomic_link(tmp_path / "source", tiny_disk / "target")
    assert (tiny_disk / "target").read_text() == "old"
    assert names(tiny_disk) == ["target"]
