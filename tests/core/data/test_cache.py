from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from era_cli.core.data import cache
from era_cli.core.data.cache import Decoded
from era_cli.results import Images, Labels

SIDE = 4
IMAGES: Images = np.random.default_rng(0).integers(0, 256, (5, 3, SIDE, SIDE), np.uint8)
INTEGERS: Labels = np.array([3, 1, 4, 1, 5])
TEXTS = ("a", "猫", "with \ud800 half a pair")
FILES = ("images.bin", "integers.bin", "meta.json")


def decode(take: Callable[[Images], object]) -> tuple[Labels, tuple[str, ...]]:
    take(IMAGES[:2])
    take(IMAGES[2:])
    return INTEGERS, TEXTS


def write(entry: Path) -> Decoded:
    return cache.write(cache.begin(entry.parent), entry, SIDE, decode)


def assert_intact(decoded: Decoded | None, *, mapped: bool = True) -> None:
    assert decoded is not None
    np.testing.assert_array_equal(decoded.images, IMAGES)
    np.testing.assert_array_equal(decoded.integers, INTEGERS)
    assert decoded.texts == TEXTS
    assert isinstance(decoded.images, np.memmap) == mapped


def test_written_images_are_read_back_mapped(tmp_path: Path) -> None:
    entry = tmp_path / "cache" / "entry"
    assert cache.read(entry, SIDE) is None
    assert_intact(write(entry))
    assert_intact(cache.read(entry, SIDE))
    assert_intact(cache.in_memory(decode), mapped=False)
    assert [path.name for path in entry.parent.iterdir()] == ["entry"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["removed", "emptied", "cut short", "overwritten", "no object", "no keys"])
def test_a_damaged_entry_is_rebuilt(tmp_path: Path, name: str, damage: str) -> None:
    entry = tmp_path / "entry"
    write(entry)
    path = entry / name
    content = path.read_bytes()
    path.unlink()
    contents = {"cut short": content[:-7], "overwritten": b"?" * len(content), "no object": b"[]", "no keys": b"{}"}
    if damage != "removed":
        path.write_bytes(contents.get(damage, b""))
    assert cache.read(entry, SIDE) is None
    assert not entry.exists()
    write(entry)
    assert_intact(cache.read(entry, SIDE))


@pytest.mark.parametrize("name", FILES)
def test_no_flipped_bit_goes_unnoticed(tmp_path: Path, name: str) -> None:
    entry = tmp_path / "entry"
    write(entry)
    for bit in range(0, 8 * 40, 13):  # every position in a byte, within the first forty bytes
        content = bytearray((entry / name).read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        (entry / name).write_bytes(content)
        decoded = cache.read(entry, SIDE)
        if decoded is not None:  # JSON may use other white space
            assert_intact(decoded)
        else:
            write(entry)


def test_a_temporarily_unreadable_entry_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_file(*_: object) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    write(tmp_path / "entry")
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", open_file)
        assert cache.read(tmp_path / "entry", SIDE) is None
    assert_intact(cache.read(tmp_path / "entry", SIDE))


@pytest.mark.parametrize("name", FILES)
def test_no_special_file_is_waited_for(tmp_path: Path, name: str) -> None:
    write(tmp_path / "entry")
    (tmp_path / "entry" / name).unlink()
    os.mkfifo(tmp_path / "entry" / name)
    assert cache.read(tmp_path / "entry", SIDE) is None


def test_a_checksum_does_not_make_the_entry_of_another_user_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "entry")
    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert cache.read(tmp_path / "entry", SIDE) is None
        with pytest.raises(OSError, match="it belongs to another user"):
            cache.begin(tmp_path)
    (tmp_path / "entry").chmod(0o777)
    assert cache.read(tmp_path / "entry", SIDE) is None
    (tmp_path / "entry").chmod(0o700)
    assert_intact(cache.read(tmp_path / "entry", SIDE))


def test_a_cache_that_others_could_write_to_is_emptied_and_closed(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    write(folder / "entry")
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o775)
    assert cache.read(folder / "entry", SIDE) is None
    write(folder / "another")
    assert [path.name for path in folder.iterdir()] == ["another"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert_intact(cache.read(folder / "another", SIDE))


def test_what_another_process_is_decoding_survives_the_closing(tmp_path: Path) -> None:
    building = cache.begin(tmp_path / "cache")
    (tmp_path / "cache").chmod(0o775)
    write(tmp_path / "cache" / "another")
    assert_intact(cache.write(building, tmp_path / "cache" / "entry", SIDE, decode))


def test_a_file_system_without_permissions_holds_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    write(folder / "entry")
    folder.chmod(0o777)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    with pytest.raises(OSError, match="other users can write to it"):
        cache.begin(folder)
    assert [path.name for path in folder.iterdir()] == ["entry"]


def test_two_writers_at_once_both_have_the_images(tmp_path: Path) -> None:
    entry = tmp_path / "entry"
    building = cache.begin(tmp_path)
    first = write(entry)
    assert_intact(cache.write(building, entry, SIDE, decode))
    assert_intact(first)
    assert_intact(cache.read(entry, SIDE))
    assert list(tmp_path.iterdir()) == [entry]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_an_exception_leaves_nothing_behind(tmp_path: Path, error: type[BaseException]) -> None:
    def stopped(take: Callable[[Images], object]) -> NoReturn:
        take(IMAGES)
        raise error

    with pytest.raises(error):
        cache.write(cache.begin(tmp_path), tmp_path / "entry", SIDE, stopped)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_does_not_kill_the_process(tiny_disk: Path) -> None:
    # Writing to a mapped page that the disk has no room for is a SIGBUS, which no except catches.
    program = (
        "import sys; from pathlib import Path; import numpy as np; from era_cli.core.data import cache\n"
        "root, images = Path(sys.argv[1]), np.zeros((6, 3, 256, 256), np.uint8)\n"
        "def decode(take): take(images); return np.arange(6), ()\n"
        "try: cache.write(cache.begin(root), root / 'entry', 256, decode)\n"
        "except OSError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tiny_disk], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "No space left" in done.stdout
    assert list(tiny_disk.iterdir()) == []


def aged(path: Path, days: float) -> Path:
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    return path


def test_stale_entries_are_swept(tmp_path: Path) -> None:
    for name in ("unused", "read", "recent"):
        write(tmp_path / name)
    fresh = cache.begin(tmp_path)
    aged(cache.begin(tmp_path), 2)
    aged(tmp_path / "recent", 50)
    for name in ("unused", "read"):
        aged(tmp_path / name, 70)
    cache.read(tmp_path / "read", SIDE)
    write(tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"read", "recent", "new", fresh.name}
