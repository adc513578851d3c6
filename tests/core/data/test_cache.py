from __future__ import annotations

import errno
import json
import os
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
NUMBERS: Labels = np.array([3, 1, 4, 1, 5])
WORDS = ("a", "猫", "with \ud800 half a pair")


def decode(take: Callable[[Images], object]) -> tuple[Labels, tuple[str, ...]]:
    take(IMAGES[:2])
    take(IMAGES[2:])
    return NUMBERS, WORDS


def write(entry: Path) -> Decoded:
    return cache.write(cache.begin(entry.parent), entry, SIDE, decode)


def assert_whole(found: Decoded | None) -> None:
    assert found is not None
    np.testing.assert_array_equal(found.images, IMAGES)
    np.testing.assert_array_equal(found.numbers, NUMBERS)
    assert found.words == WORDS


def test_what_was_written_is_read_and_mapped(tmp_path: Path) -> None:
    entry = tmp_path / "cache" / "entry"
    assert cache.read(entry, SIDE) is None
    for found in (write(entry), cache.read(entry, SIDE)):
        assert_whole(found)
        assert found is not None
        assert isinstance(found.images, np.memmap)
    assert [path.name for path in entry.parent.iterdir()] == ["entry"]


def test_without_a_folder_it_is_the_same_in_memory() -> None:
    found = cache.in_memory(decode)
    assert_whole(found)
    assert not isinstance(found.images, np.memmap)


FILES = ("images.bin", "numbers.bin", "meta.json")


def assert_built_again(entry: Path) -> None:
    assert cache.read(entry, SIDE) is None
    assert not entry.exists()
    write(entry)
    assert_whole(cache.read(entry, SIDE))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["emptied", "cut short", "overwritten", "removed"])
def test_a_damaged_entry_is_removed(tmp_path: Path, name: str, damage: str) -> None:
    entry = tmp_path / "entry"
    write(entry)
    path = entry / name
    content = path.read_bytes()
    path.unlink()
    if damage != "removed":
        path.write_bytes({"emptied": b"", "cut short": content[:-7], "overwritten": b"?" * len(content)}[damage])
    assert_built_again(entry)


@pytest.mark.parametrize("name", FILES)
def test_no_bit_can_be_turned_unnoticed(tmp_path: Path, name: str) -> None:
    entry = tmp_path / "entry"
    for bit in range(0, 8 * 40, 7):  # each place in a byte, within the first forty
        write(entry)
        content = bytearray((entry / name).read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        (entry / name).write_bytes(content)
        found = cache.read(entry, SIDE)
        if found is not None:  # JSON has blanks, which may be others
            assert_whole(found)


@pytest.mark.parametrize("meta", [[], None, {}, {"words": list(WORDS)}, {"words": None, "crc32": "as it was"}])
def test_an_entry_with_other_json_is_removed(tmp_path: Path, meta: object) -> None:
    entry = tmp_path / "entry"
    write(entry)
    path = entry / "meta.json"
    if isinstance(meta, dict) and "crc32" in meta:
        meta["crc32"] = json.loads(path.read_text())["crc32"]
    path.write_text(json.dumps(meta))
    assert_built_again(entry)


def test_an_entry_that_cannot_be_read_for_now_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_text(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    write(tmp_path / "entry")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", read_text)
        assert cache.read(tmp_path / "entry", SIDE) is None
    assert_whole(cache.read(tmp_path / "entry", SIDE))


def test_who_comes_second_has_the_images_all_the_same(tmp_path: Path) -> None:
    entry = tmp_path / "entry"
    late = cache.begin(tmp_path)
    first = write(entry)
    assert_whole(cache.write(late, entry, SIDE, decode))
    assert_whole(first)
    assert_whole(cache.read(entry, SIDE))
    assert list(tmp_path.iterdir()) == [entry]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_nothing_half_built_is_left_by_an_exception(tmp_path: Path, error: type[BaseException]) -> None:
    def stopped(take: Callable[[Images], object]) -> tuple[Labels, tuple[str, ...]]:
        take(IMAGES)
        raise error

    with pytest.raises(error):
        cache.write(cache.begin(tmp_path), tmp_path / "entry", SIDE, stopped)
    assert list(tmp_path.iterdir()) == []


def aged(path: Path, days: float) -> Path:
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    return path


def test_what_a_killed_era_left_half_built_goes_after_a_day(tmp_path: Path) -> None:
    fresh, old = cache.begin(tmp_path), aged(cache.begin(tmp_path), 2)
    write(tmp_path / "entry")
    assert fresh.is_dir()
    assert not old.exists()


def test_what_nobody_has_read_for_two_months_goes(tmp_path: Path) -> None:
    for name in ("forgotten", "read", "recent"):
        write(tmp_path / name)
    aged(tmp_path / "recent", 50)
    for name in ("forgotten", "read"):
        aged(tmp_path / name, 70)
    cache.read(tmp_path / "read", SIDE)
    write(tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"read", "recent", "new"}
