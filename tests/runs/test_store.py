from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from era_cli.errors import EraError, UsageError
from era_cli.runs import replacement, store
from era_cli.runs.run import Run
from tests.support import make_run, run_document

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


# Creating


def test_a_new_run_has_its_document_and_a_folder_for_checkpoints(runs_dir: Path) -> None:
    run = make_run(runs_dir)
    assert run.path == runs_dir / "digits-1"
    assert run.read() == run_document(name="digits-1")
    assert run.checkpoints.is_dir()
    assert [artifact.path for artifact in run.contents()] == [run.document_file]


def test_runs_of_a_source_are_numbered_on(runs_dir: Path) -> None:
    assert [make_run(runs_dir, source=source).name for source in ("digits", "digits", "cifar10", "digits")] == [
        "digits-1",
        "digits-2",
        "cifar10-1",
        "digits-3",
    ]
    for name in ("digits-9", "digits-x", "digits", "my-digits-40", "digits-50-old"):
        (runs_dir / name).mkdir(parents=True)
    assert make_run(runs_dir).name == "digits-10"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("my photos", "my-photos-1"),
        ("a.b", "a-b-1"),
        ("../etc", "etc-1"),
        ("猫", "run-1"),
        ("", "run-1"),
        ("a+(b", "a-b-1"),
    ],
)
def test_a_source_of_any_name_gives_a_plain_folder(runs_dir: Path, source: str, expected: str) -> None:
    assert make_run(runs_dir, source=source).name == expected
    assert store.find(runs_dir, expected).name == expected


def test_a_given_name_is_used(runs_dir: Path) -> None:
    assert make_run(runs_dir, "My_run-1.5").path == runs_dir / "My_run-1.5"


def test_an_existing_name_is_refused_and_left_alone(runs_dir: Path) -> None:
    run = make_run(runs_dir, "mine", seconds=1.0)
    for attempt in (lambda: make_run(runs_dir, "mine"), lambda: store.check_name(runs_dir, "mine")):
        with pytest.raises(UsageError, match=r"already exists.*--resume"):
            attempt()
    assert run.read().seconds == 1.0


# Patterns


def test_a_pattern_finds_every_run_so_called(runs_dir: Path) -> None:
    for name in ("sweep-10", "sweep-9", "other", "sweep-1"):
        make_run(runs_dir, name)
    (runs_dir / "sweep-2").mkdir()  # not a run
    assert [run.name for run in store.find_all(runs_dir, "sweep-*")] == ["sweep-1", "sweep-9", "sweep-10"]
    assert [run.name for run in store.find_all(runs_dir, "sweep-?")] == ["sweep-1", "sweep-9"]
    assert [run.name for run in store.find_all(runs_dir, "other")] == ["other"]
    with pytest.raises(EraError, match=r"matches 'nothing-\*' \(runs there: other, sweep-1, sweep-9, sweep-10\)"):
        store.find_all(runs_dir, "nothing-*")


def test_a_pattern_of_paths_finds_every_run(runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sweep-10", "sweep-9", "other"):
        make_run(runs_dir, name)
    monkeypatch.chdir(tmp_path)
    for folder in (Path("runs"), runs_dir):
        paths = [run.path for run in store.find_all(Path("elsewhere"), f"{folder}/sweep-*")]
        assert paths == [folder / "sweep-9", folder / "sweep-10"]


@pytest.mark.parametrize("name", ["a[1]", "why?", "5*5"])
def test_a_name_with_wildcards_is_first_a_name(name: str, runs_dir: Path) -> None:
    make_run(runs_dir, "mine").path.rename(runs_dir / name)
    make_run(runs_dir, "5x5")
    for which in (name, str(runs_dir / name)):
        assert [run.name for run in store.find_all(runs_dir, which)] == [name]


# Replacing


def overwriting(runs_dir: Path, **changes: Any) -> Run:
    """A run that has not taken the place of the old one yet."""
    return store.create(runs_dir, "mine", "digits", lambda name: run_document(name=name, **changes), overwrite=True)


def names(runs_dir: Path) -> list[str]:
    return sorted(path.name for path in runs_dir.iterdir())


def test_a_replaced_run_leaves_nothing_behind(runs_dir: Path) -> None:
    old = make_run(runs_dir, "mine", seconds=1.0)
    old.metrics_file.write_text("epoch\n")
    for seconds in (2.0, 3.0):  # the second time, too
        run = overwriting(runs_dir, seconds=seconds)
        with run.lock():
            replacement.take_place(run)
            assert (run.path, run.replaces) == (runs_dir / "mine", None)
            with pytest.raises(EraError, match="in use"):  # the lock has moved with it
                store.check_name(runs_dir, "mine", overwrite=True)
        assert (run.read().name, run.read().seconds) == ("mine", seconds)
        assert not run.metrics_file.exists()
        assert run.checkpoints.is_dir()
        assert names(runs_dir) == ["mine"]
    assert run.path.stat().st_mode == make_run(runs_dir).path.stat().st_mode


def test_without_a_run_overwriting_just_creates(runs_dir: Path) -> None:
    assert overwriting(runs_dir).path == runs_dir / "mine"


def test_a_run_in_use_is_not_replaced(runs_dir: Path) -> None:
    run = make_run(runs_dir, "mine", seconds=1.0)
    new = overwriting(runs_dir)
    with run.lock():
        for attempt in (
            lambda: overwriting(runs_dir),
            lambda: store.check_name(runs_dir, "mine", overwrite=True),
            lambda: replacement.take_place(new),  # someone resumed it meanwhile
        ):
            with pytest.raises(EraError, match="in use"):
                attempt()
    assert run.read().seconds == 1.0


@pytest.mark.parametrize("content", [None, "{}", "not JSON"])
def test_what_is_not_a_run_is_not_replaced(content: str | None, runs_dir: Path) -> None:
    (runs_dir / "mine").mkdir(parents=True)
    (runs_dir / "mine" / "thesis.tex").touch()
    if content is not None:
        (runs_dir / "mine" / "run.json").write_text(content)
    with pytest.raises(UsageError, match=r"only a run that era can read \(.*\): choose another --name"):
        overwriting(runs_dir)
    assert (runs_dir / "mine" / "thesis.tex").exists()
    assert names(runs_dir) == ["mine"]


@pytest.mark.parametrize("target", ["other", "absent"])
def test_a_link_to_a_run_is_not_replaced(target: str, runs_dir: Path) -> None:
    other = make_run(runs_dir, "other")
    (runs_dir / "mine").symlink_to(target)
    with pytest.raises(UsageError, match="is a link"):
        overwriting(runs_dir)
    assert other.read().name == "other"


@pytest.mark.parametrize("place", [0, 1])
def test_a_failure_on_the_way_keeps_the_old_run(runs_dir: Path, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    old = make_run(runs_dir, "mine", seconds=1.0)
    real, calls = Path.rename, iter(range(5))

    def fails(self: Path, target: Path) -> Path:
        if next(calls) == place:
            raise OSError(13, "Permission denied")
        return real(self, target)

    new = overwriting(runs_dir)
    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(EraError, match="Permission denied"):
        replacement.take_place(new)
    replacement.discard(new)
    assert old.read().seconds == 1.0
    assert names(runs_dir) == ["mine"]


KILLED = """
import os, sys
from pathlib import Path
from era_cli.runs import replacement
from tests.runs.test_store import overwriting

calls, real = iter(range(5)), Path.rename
def rename(self, target):
    if next(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    return real(self, target)

Path.rename = rename
replacement.take_place(overwriting(Path(sys.argv[1])))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs kill -9")
@pytest.mark.parametrize("look", ["mine", "latest", "path", "m*"])
@pytest.mark.parametrize("place", [0, 1])
def test_kill_9_while_replacing_keeps_the_old_run(place: int, look: str, runs_dir: Path) -> None:
    make_run(runs_dir, "mine", seconds=1.0)
    done = subprocess.run([sys.executable, "-c", KILLED, str(runs_dir), str(place)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert (runs_dir / "mine").exists() is (place == 0)
    (run,) = store.find_all(runs_dir, str(runs_dir / "mine") if look == "path" else look)
    assert (run.path, run.read().seconds) == (runs_dir / "mine", 1.0)
    new = overwriting(runs_dir, seconds=2.0)
    replacement.take_place(new)
    assert new.read().seconds == 2.0
    assert names(runs_dir) == ["mine"]


def test_a_run_being_replaced_is_not_put_back(runs_dir: Path) -> None:
    old = make_run(runs_dir, "mine")
    overwriting(runs_dir)
    with old.lock():
        aside = old.path.rename(runs_dir / ".mine.replaced")
        with pytest.raises(EraError, match="no run 'mine'"):
            store.find(runs_dir, "mine")
        assert aside.exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/b", "a\\b", "/abs", ".hidden", "-flag", "a b", "é", "latest", "a\n", "x" * 101]
)
def test_a_name_that_is_not_a_plain_file_name(runs_dir: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        store.check_name(runs_dir, name)
    with pytest.raises(UsageError, match="--name"):
        make_run(runs_dir, name)
    assert not runs_dir.exists() or list(runs_dir.iterdir()) == []


@pytest.mark.parametrize("name", [None, "a", "x" * 100, "Latest", "a..b", "2024-01-01_run.v2"])
def test_a_plain_name_is_accepted(runs_dir: Path, name: str | None) -> None:
    store.check_name(runs_dir, name)


def test_a_runs_dir_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for runs_dir in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(EraError, match="--runs-dir"):
            make_run(runs_dir)


def test_processes_that_create_at_once(runs_dir: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.support import make_run\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for _ in range(5): print(make_run(Path(sys.argv[1])).name)\n"
    )
    command = [sys.executable, "-c", program, str(runs_dir)]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    made = [name for process in processes for name in process.communicate()[0].split()]
    assert sorted(made) == sorted(f"digits-{number}" for number in range(1, 16))


# Finding


def test_a_run_is_found_by_name_and_path(runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(runs_dir)
    make_run(runs_dir)
    elsewhere = tmp_path / "elsewhere"
    assert store.find(runs_dir, "digits-1").path == run.path
    assert store.find(elsewhere, str(run.path)).path == run.path
    monkeypatch.chdir(runs_dir.parent)
    assert store.find(elsewhere, "runs/digits-1").path.samefile(run.path)
    monkeypatch.chdir(run.path)
    found = store.find(elsewhere, ".")
    assert (found.name, found.path.samefile(run.path)) == ("digits-1", True)


def test_a_missing_run_names_those_that_are_there(runs_dir: Path) -> None:
    make_run(runs_dir)
    make_run(runs_dir, "mine")
    (runs_dir / "no run").mkdir()
    with pytest.raises(EraError, match=r"'other'.*runs there: digits-1, mine\)"):
        store.find(runs_dir, "other")


@pytest.mark.parametrize("which", ["other", "latest"])
def test_without_any_run_the_folder_is_named(runs_dir: Path, which: str) -> None:
    with pytest.raises(EraError, match="--runs-dir") as caught:
        store.find(runs_dir, which)
    assert str(runs_dir) in str(caught.value)


def test_latest_is_the_most_recently_started(runs_dir: Path) -> None:
    make_run(runs_dir, "b", started="2026-01-02T00:00:00+00:00")
    make_run(runs_dir, "a", started="2026-01-03T00:00:00+00:00")
    make_run(runs_dir, "c", started="2026-01-01T00:00:00+00:00").update(error="x")
    assert store.find(runs_dir, "latest").name == "a"


def test_no_older_run_stands_in_for_a_damaged_one(runs_dir: Path) -> None:
    make_run(runs_dir, "a", started="2026-01-01T00:00:00+00:00")
    make_run(runs_dir, "b", started="2026-01-02T00:00:00+00:00").document_file.write_text("{")
    latest = store.find(runs_dir, "latest")
    with pytest.raises(EraError, match=r"b/run\.json is not valid JSON"):
        latest.read()


def test_what_cannot_be_a_run_does_not_stand_in_for_the_latest(runs_dir: Path) -> None:
    make_run(runs_dir, "a", started="2026-01-01T00:00:00+00:00")
    for name in ("pipe", "device", "huge", "dangling", "folder"):
        (runs_dir / name).mkdir()
    os.mkfifo(runs_dir / "pipe" / "run.json")
    (runs_dir / "device" / "run.json").symlink_to("/dev/zero")
    with (runs_dir / "huge" / "run.json").open("wb") as file:
        file.truncate(10**12)
    (runs_dir / "dangling" / "run.json").symlink_to("nowhere")
    (runs_dir / "folder" / "run.json").mkdir()
    assert store.find(runs_dir, "latest").name == "a"
    with pytest.raises(EraError, match=r"huge/run.json cannot be read .it is larger than 10 MB"):
        store.find(runs_dir, "huge").read()


@pytest.mark.parametrize("content", ["[" * 100_000, '{"started": "0001-01-01T00:00:00+14:00"}', '{"started": 1e400}'])
def test_a_damaged_neighbour_does_not_stop_the_latest(content: str, runs_dir: Path) -> None:
    file = make_run(runs_dir, "b").document_file
    file.write_text(content)
    os.utime(file, (0, 0))
    make_run(runs_dir, "a", started="2026-01-01T00:00:00+00:00")
    assert store.find(runs_dir, "latest").name == "a"


# Free names


def test_a_free_stem_is_the_next_number_whatever_the_suffix(tmp_path: Path) -> None:
    assert store.free_stem(tmp_path / "absent", "a") == tmp_path / "absent" / "a-1"
    assert not (tmp_path / "absent").exists()
    assert store.free_stem(tmp_path, "lr-find") == tmp_path / "lr-find-1"
    for name in ("lr-find-2.png", "lr-find-9.json", "lr-find-x.png", "my-lr-find-30.png", "other-40", "lr-find-50-old"):
        (tmp_path / name).touch()
    assert store.free_stem(tmp_path, "lr-find") == tmp_path / "lr-find-10"
    (tmp_path / "lr-find-11").mkdir()
    assert store.free_stem(tmp_path, "lr-find") == tmp_path / "lr-find-12"
    assert store.free_stem(tmp_path, "my photos\n") == tmp_path / "my-photos-1"
