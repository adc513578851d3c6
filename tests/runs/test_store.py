from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from era_cli.errors import EraError, UsageError
from era_cli.results import EpochRow, StepRow
from era_cli.runs import history, store
from era_cli.runs.run import SCHEMA, Run


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def make(runs_dir: Path, name: str | None = None, source: str = "digits", **document: Any) -> Run:
    return store.create(runs_dir, name, source, {"status": "running", **document})


# Creating


def test_a_new_run_has_its_run_json_and_a_folder_for_checkpoints(runs_dir: Path) -> None:
    run = make(runs_dir, seed=7)
    assert run.path == runs_dir / "digits-1"
    assert run.read() == {"schema": SCHEMA, "name": "digits-1", "status": "running", "seed": 7}
    assert run.checkpoints.is_dir()
    assert run.files() == [run.json_file]


def test_runs_of_a_source_are_numbered_on(runs_dir: Path) -> None:
    assert [make(runs_dir, source=source).name for source in ("digits", "digits", "cifar10", "digits")] == [
        "digits-1",
        "digits-2",
        "cifar10-1",
        "digits-3",
    ]


def test_a_number_is_not_used_again_below_the_highest(runs_dir: Path) -> None:
    for name in ("digits-2", "digits-9", "digits-x", "digits", "my-digits-40", "digits-50-old"):
        (runs_dir / name).mkdir(parents=True)
    assert make(runs_dir).name == "digits-10"


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
    assert make(runs_dir, source=source).name == expected
    assert store.find(runs_dir, expected).name == expected


def test_a_given_name_is_used(runs_dir: Path) -> None:
    assert make(runs_dir, "My_run-1.5").path == runs_dir / "My_run-1.5"


def test_an_existing_name_is_refused_and_left_alone(runs_dir: Path) -> None:
    run = make(runs_dir, "mine", seed=1)
    with pytest.raises(UsageError, match=r"exists already.*--resume"):
        make(runs_dir, "mine", seed=2)
    assert run.read()["seed"] == 1


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/b", "a\\b", "/abs", ".hidden", "-flag", "a b", "é", "latest", "a\n", "x" * 101]
)
def test_a_name_that_is_no_plain_file_name_is_refused(runs_dir: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        store.check_name(runs_dir, name)
    with pytest.raises(UsageError, match="--name"):
        make(runs_dir, name)
    assert not runs_dir.exists() or list(runs_dir.iterdir()) == []


@pytest.mark.parametrize("name", [None, "a", "x" * 100, "Latest", "a..b", "2024-01-01_run.v2"])
def test_a_plain_name_is_accepted(runs_dir: Path, name: str | None) -> None:
    store.check_name(runs_dir, name)


def test_a_taken_name_is_refused_before_anything_is_written(runs_dir: Path) -> None:
    make(runs_dir, "mine")
    with pytest.raises(UsageError, match="exists already"):
        store.check_name(runs_dir, "mine")


def test_a_runs_dir_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for runs_dir in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(EraError, match="--runs-dir"):
            make(runs_dir)


def test_threads_that_create_at_once_get_folders_of_their_own(runs_dir: Path) -> None:
    start = threading.Barrier(8)

    def several(_: int) -> list[str]:
        made = []
        for _ in range(3):
            start.wait()
            made.append(make(runs_dir).name)
        return made

    with ThreadPoolExecutor(8) as pool:
        made = [name for names in pool.map(several, range(8)) for name in names]
    assert sorted(made) == sorted(f"digits-{number}" for number in range(1, 25))


def test_processes_that_create_at_once_get_folders_of_their_own(runs_dir: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from era_cli.runs import store\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for _ in range(5): print(store.create(Path(sys.argv[1]), None, 'digits', {}).name)\n"
    )
    command = [sys.executable, "-c", program, str(runs_dir)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
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


def test_a_run_is_found_by_its_name_and_by_its_path(runs_dir: Path, tmp_path: Path) -> None:
    run = make(runs_dir)
    make(runs_dir)
    assert store.find(runs_dir, "digits-1").path == run.path
    assert store.find(tmp_path / "elsewhere", str(run.path)).path == run.path


def test_a_relative_path_is_found(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(runs_dir)
    monkeypatch.chdir(runs_dir.parent)
    assert store.find(Path("elsewhere"), "runs/digits-1").path.samefile(run.path)


def test_the_run_one_stands_in_is_found_and_has_its_name(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(runs_dir)
    monkeypatch.chdir(run.path)
    found = store.find(runs_dir, ".")
    assert found.path.samefile(run.path)
    assert found.name == "digits-1"


def test_a_missing_run_names_those_that_are_there(runs_dir: Path) -> None:
    make(runs_dir)
    make(runs_dir, "mine")
    (runs_dir / "no run").mkdir()
    with pytest.raises(EraError, match=r"'other'.*runs there: digits-1, mine\)"):
        store.find(runs_dir, "other")


@pytest.mark.parametrize("which", ["other", "latest"])
def test_without_any_run_the_folder_that_was_searched_is_named(runs_dir: Path, which: str) -> None:
    with pytest.raises(EraError, match="--runs-dir") as caught:
        store.find(runs_dir, which)
    assert str(runs_dir) in str(caught.value)


def test_latest_is_the_one_started_last_whatever_its_name_or_file_times(runs_dir: Path) -> None:
    make(runs_dir, "b", started="2026-01-02T00:00:00+00:00")
    make(runs_dir, "a", started="2026-01-03T00:00:00+00:00")
    make(runs_dir, "c", started="2026-01-01T00:00:00+00:00").update(status="finished")
    assert store.find(runs_dir, "latest").name == "a"


def test_latest_passes_over_damaged_runs(runs_dir: Path) -> None:
    make(runs_dir, "a", started="2026-01-01T00:00:00+00:00")
    make(runs_dir, "b", started="2026-01-02T00:00:00+00:00").json_file.write_text("{")
    assert store.find(runs_dir, "latest").name == "a"


def test_times_sort_as_text() -> None:
    one, other = store.now(), store.now()
    assert one <= other
    assert abs((datetime.fromisoformat(one) - datetime.now(UTC)).total_seconds()) < 60
    assert one.endswith("+00:00")


# Reading and writing


def test_update_replaces_only_the_given_keys(runs_dir: Path) -> None:
    run = make(runs_dir, seed=7)
    run.update(status="finished", result={"test_acc": 0.9})
    assert run.read() == {
        "schema": SCHEMA,
        "name": "digits-1",
        "status": "finished",
        "seed": 7,
        "result": {"test_acc": 0.9},
    }


def test_an_update_that_fails_keeps_run_json(runs_dir: Path) -> None:
    run = make(runs_dir)
    before = run.json_file.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.update(loss=float("nan"))
    assert run.json_file.read_bytes() == before


def test_a_folder_without_run_json_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(EraError, match="no run folder"):
        Run(tmp_path).read()


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": 1', b"\xff\xfe\x00", b"\x00" * 40])
def test_a_damaged_run_json_is_named(runs_dir: Path, content: bytes) -> None:
    run = make(runs_dir)
    run.json_file.write_bytes(content)
    with pytest.raises(EraError, match="cannot be read") as caught:
        run.read()
    assert str(run.json_file) in str(caught.value)
    with pytest.raises(EraError, match="cannot be read"):
        run.update(status="finished")
    assert run.json_file.read_bytes() == content


@pytest.mark.parametrize("document", [{"schema": SCHEMA + 1}, {"schema": str(SCHEMA)}, {}, [], None, 1])
def test_another_schema_is_refused(runs_dir: Path, document: Any) -> None:
    run = make(runs_dir)
    run.json_file.write_text(json.dumps(document))
    with pytest.raises(EraError, match=f"not of schema {SCHEMA}"):
        run.read()


def test_files_lists_what_a_person_may_open(runs_dir: Path) -> None:
    run = make(runs_dir)
    (run.checkpoints / "last.ckpt").touch()
    (run.checkpoints / ".last.ckpt.x.partial").touch()
    (run.path / "curves.png").touch()
    with run.lock():
        assert run.files() == [run.checkpoints / "last.ckpt", run.path / "curves.png", run.json_file]


def test_epochs_and_steps_are_empty_at_first_and_then_read_from_their_files(runs_dir: Path) -> None:
    run = make(runs_dir)
    assert (run.epochs(), run.steps()) == ([], [])
    run.metrics_file.write_text(
        "epoch,train_loss,train_acc,val_loss,val_acc,lr,seconds,images_per_second\n1,2.5,0.25,,,0.1,12.5,4000.0\n"
    )
    run.steps_file.write_text("step,lr,loss\n1,0.1,2.5\n")
    assert run.steps() == [StepRow(step=1, lr=0.1, loss=2.5)]
    assert run.epochs() == [
        EpochRow(
            epoch=1,
            train_loss=2.5,
            train_acc=0.25,
            val_loss=None,
            val_acc=None,
            lr=0.1,
            seconds=12.5,
            images_per_second=4000.0,
        )
    ]


# Locking


@contextmanager
def another_era_in(run: Run) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the run's lock until its stdin is closed."""
    program = (
        "import sys; from pathlib import Path; from era_cli.runs.run import Run\n"
        "with Run(Path(sys.argv[1])).lock(): print('locked', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            yield process
        finally:
            process.kill()


def test_a_lock_held_by_a_living_process_is_refused_at_once(runs_dir: Path) -> None:
    run = make(runs_dir)
    with another_era_in(run), pytest.raises(EraError, match="in use") as caught, run.lock():
        pass
    assert str(run.path) in str(caught.value)


def test_other_runs_stay_free(runs_dir: Path) -> None:
    run, other = make(runs_dir), make(runs_dir)
    with another_era_in(run), other.lock():
        pass


@pytest.mark.skipif(os.name != "posix", reason="needs kill -9")
def test_kill_9_frees_the_lock(runs_dir: Path) -> None:
    run = make(runs_dir)
    with another_era_in(run) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with run.lock():
            pass


def test_the_lock_is_free_after_the_block_even_if_it_raises(runs_dir: Path) -> None:
    run = make(runs_dir)
    with pytest.raises(RuntimeError, match="trained badly"), run.lock():
        raise RuntimeError("trained badly")
    with another_era_in(run):
        pass
    with run.lock():
        pass


def test_the_lock_keeps_others_out_for_the_whole_block(runs_dir: Path) -> None:
    run = make(runs_dir)
    program = (
        "import sys; from pathlib import Path; from era_cli.runs.run import Run\n"
        "with Run(Path(sys.argv[1])).lock(): pass\n"
    )
    with run.lock():
        done = subprocess.run([sys.executable, "-c", program, run.path], capture_output=True, text=True)
    assert done.returncode == 1
    assert "in use" in done.stderr


# Curves


def curve_run(runs_dir: Path, epochs: int, **document: Any) -> Run:
    """A run of 160 images in batches of 32 with `epochs` of 24 epochs behind it; the second is its best."""
    values = {"recipe": {"epochs": 24, "batch_size": 32}, "data": {"counts": {"train": 175, "val": 40}}, "result": None}
    run = make(runs_dir, **{**values, **document})
    history.append(
        run.metrics_file,
        [
            EpochRow(
                epoch=epoch,
                train_loss=2.0,
                train_acc=0.25,
                val_loss=1.5,
                val_acc=0.75 if epoch == 2 else 0.5,
                lr=0.1,
                seconds=1.0,
                images_per_second=100.0,
            )
            for epoch in range(1, epochs + 1)
        ],
    )
    history.append(run.steps_file, [StepRow(step=step, lr=step / 8, loss=2.0) for step in range(1, 5 * epochs + 3)])
    return run


def test_the_curves_are_what_the_files_of_the_run_hold(runs_dir: Path) -> None:
    run = curve_run(runs_dir, 3)
    curves = run.curves()
    assert (curves.name, curves.status, curves.planned_epochs) == ("digits-1", "running", 24)
    assert list(curves.epochs) == run.epochs()
    assert len(curves.epochs) == 3
    assert curves.best == curves.epochs[1]
    assert curves.rates.tolist() == [step / 8 for step in range(1, 18)]
    assert curves.steps_per_epoch == 5  # the 15 images over are no step
    assert curves.test_acc is None
    assert curves.left_out == ()


def test_the_curves_of_a_finished_run_have_its_test_accuracy(runs_dir: Path) -> None:
    assert curve_run(runs_dir, 2, status="finished", result={"test_acc": 0.875}).curves().test_acc == 0.875


def test_the_best_epoch_of_a_finished_run_is_the_one_it_was_judged_by(runs_dir: Path) -> None:
    run = curve_run(runs_dir, 3, status="finished", result={"best_epoch": 1})
    assert run.curves().best == run.epochs()[0]
    run.update(result=None)
    assert run.curves().best == run.epochs()[1]


def test_a_finished_run_whose_best_row_is_damaged_has_no_other_best(runs_dir: Path) -> None:
    run = curve_run(runs_dir, 4, status="finished", result={"best_epoch": 2})
    run.metrics_file.write_text(run.metrics_file.read_text().replace("\n2,", "\ntwo,"))
    curves = run.curves()
    assert ([row.epoch for row in curves.epochs], curves.best) == ([1, 3, 4], None)


def test_a_run_that_has_just_begun_has_empty_curves(runs_dir: Path) -> None:
    run = curve_run(runs_dir, 1)
    run.metrics_file.unlink()
    run.steps_file.unlink()
    curves = run.curves()
    assert (curves.epochs, curves.best, len(curves.rates), curves.left_out) == ((), None, 0, ())


def test_curves_name_the_lines_that_they_leave_out_and_keep_the_rest(runs_dir: Path) -> None:
    run = curve_run(runs_dir, 4)
    run.metrics_file.write_text(run.metrics_file.read_text().replace("\n2,", "\ntwo,"))
    run.steps_file.write_bytes(run.steps_file.read_bytes()[:-2])
    before = [file.read_bytes() for file in (run.metrics_file, run.steps_file)]
    curves = run.curves()
    assert [row.epoch for row in curves.epochs] == [1, 3, 4]
    assert curves.best == curves.epochs[-1]  # equals: the latest
    assert len(curves.rates) == 21
    metrics, steps = curves.left_out
    assert f"line 3 of {run.metrics_file}" in metrics
    assert f"line 23 of {run.steps_file}" in steps
    assert before == [file.read_bytes() for file in (run.metrics_file, run.steps_file)]


def test_a_damaged_step_does_not_move_the_steps_after_it(runs_dir: Path) -> None:
    run = curve_run(runs_dir, 4)
    run.steps_file.write_text(run.steps_file.read_text().replace("\n7,", "\nseven,"))
    curves = run.curves()
    assert curves.steps.tolist() == [*range(1, 7), *range(8, 23)]
    np.testing.assert_array_equal(curves.rates, curves.steps / 8)


def test_curves_of_a_folder_without_run_json_are_refused(runs_dir: Path) -> None:
    run = curve_run(runs_dir, 2)
    run.json_file.unlink()
    with pytest.raises(EraError, match="no run folder"):
        run.curves()


def test_the_curves_of_a_real_run_cover_every_step(finished_run: Path) -> None:
    run = Run(finished_run)
    curves, document = run.curves(), run.read()
    assert (curves.status, curves.planned_epochs) == ("finished", 3)
    assert len(curves.rates) == 3 * curves.steps_per_epoch == len(run.steps())
    assert curves.best is not None
    assert curves.best.epoch == document["result"]["best_epoch"]
    assert curves.test_acc == document["result"]["test_acc"]
    for row in curves.epochs:
        assert row.lr == curves.rates[row.epoch * curves.steps_per_epoch - 1]


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
