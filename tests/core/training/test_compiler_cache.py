"""What torch compiled is read and executed again: it lies where nobody else can write."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from era_cli.core.training import compiler_cache

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes are those of POSIX")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The person's cache folder; no folder of the compiler is named in the environment."""
    for variable in compiler_cache.VARIABLES:
        monkeypatch.setenv(variable, "")  # to be taken back after the test
        monkeypatch.delenv(variable)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def settled() -> Path:
    """The folder that the compiler is pointed at."""
    compiler_cache.settle()
    folders = {Path(os.environ[variable]).parent for variable in compiler_cache.VARIABLES}
    (folder,) = folders
    return folder


def test_it_lies_in_the_cache_of_the_user_alone(cache: Path) -> None:
    folder = settled()
    assert folder == cache / "era" / "compiled"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert settled() == folder


def test_a_umask_that_lets_the_group_write_does_not_matter(cache: Path) -> None:
    cache.mkdir()
    before = os.umask(0o002)
    try:
        assert settled() == cache / "era" / "compiled"
    finally:
        os.umask(before)
    (cache / "era").chmod(0o775)  # by an older version
    for variable in compiler_cache.VARIABLES:
        del os.environ[variable]
    assert settled() == cache / "era" / "compiled"
    assert stat.S_IMODE((cache / "era").stat().st_mode) == 0o755


def shared(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)


def shared_above(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.parent.parent.chmod(0o777)


def linked(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    (folder.parent / "elsewhere").mkdir()
    folder.symlink_to("elsewhere")


def another_owner(folder: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    folder.mkdir(parents=True)
    os.chown(folder, 12_345, 12_345)


@pytest.mark.parametrize("prepare", [shared, shared_above, linked, another_owner])
def test_a_folder_that_others_can_write_is_not_used(
    prepare: Callable[[Path], None], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    prepare(cache / "era" / "compiled")
    folder = settled()
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_the_person_named_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in compiler_cache.VARIABLES:
        monkeypatch.setenv(variable, "/mine")
    compiler_cache.settle()
    assert {os.environ[variable] for variable in compiler_cache.VARIABLES} == {"/mine"}
    assert not cache.exists()
