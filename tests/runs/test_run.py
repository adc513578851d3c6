from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from era_cli.errors import EraError
from era_cli.runs.run import Run
from tests.support import RESULT, curve_run, make_run


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_update_replaces_only_the_given_fields(runs_dir: Path) -> None:
    run = make_run(runs_dir)
    before = run.read()
    changed = run.update(status="finished", result=RESULT)
    assert changed == run.read() == replace(before, status="finished", result=RESULT)


def test_an_update_that_fails_keeps_run_json(runs_dir: Path) -> None:
    run = make_run(runs_dir)
    before = run.document_file.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.update(seconds=float("nan"))
    assert run.document_file.read_bytes() == before


@pytest.mark.parametrize(
    ("path", "which"), [("runs/mine", "mine"), ("my runs/mine", "'my runs/mine'"), ("/a/b", "/a/b"), ("b", "b")]
)
def test_the_command_that_resumes_finds_the_run(path: str, which: str) -> None:
    assert Run(Path(path)).resume_command == f"era fit --resume {which}"


# Locking


@contextmanager
def another_process_in(run: Run) -> Iterator[subprocess.Popen[str]]:
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


@pytest.mark.skipif(os.name != "posix", reason="needs kill -9")
def test_a_lock_is_held_until_kill_9(runs_dir: Path) -> None:
    run, other = make_run(runs_dir), make_run(runs_dir)
    with another_process_in(run) as process:
        with pytest.raises(EraError, match="in use") as caught, run.lock():
            pass
        assert str(run.path) in str(caught.value)
        with other.lock():
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with run.lock():
            pass


def test_the_lock_is_free_after_a_block_that_raises(runs_dir: Path) -> None:
    run = make_run(runs_dir)
    with pytest.raises(RuntimeError, match="trained badly"), run.lock():
        raise RuntimeError("trained badly")
    with another_process_in(run):
        pass


def test_the_lock_keeps_others_out_for_the_whole_block(runs_dir: Path) -> None:
    run = make_run(runs_dir)
    program = (
        "import sys; from pathlib import Path; from era_cli.runs.run import Run\n"
        "with Run(Path(sys.argv[1])).lock(): pass\n"
    )
    with run.lock():
        done = subprocess.run([sys.executable, "-c", program, run.path], capture_output=True, text=True)
    assert done.returncode == 1
    assert "in use" in done.stderr


# Curves


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


def test_the_best_epoch_is_the_one_that_was_tested(runs_dir: Path) -> None:
    run = curve_run(runs_dir, 3, status="finished", result=replace(RESULT, best_epoch=1))
    assert run.curves().test_acc == 0.875
    assert run.curves().best == run.epochs()[0]
    run.update(status="interrupted", result=None)
    assert run.curves().best == run.epochs()[1]


def test_a_finished_run_whose_best_row_is_damaged_has_no_other_best(runs_dir: Path) -> None:
    run = curve_run(runs_dir, 4, status="finished", result=RESULT)
    run.metrics_file.write_text(run.metrics_file.read_text().replace("\n2,", "\ntwo,"))
    curves = run.curves()
    assert ([row.epoch for row in curves.epochs], curves.best) == ([1, 3, 4], None)


def test_a_run_just_started_has_empty_curves(runs_dir: Path) -> None:
    run = make_run(runs_dir)
    curves = run.curves()
    assert (curves.epochs, curves.best, len(curves.rates), curves.left_out) == ((), None, 0, ())
    run.document_file.unlink()
    with pytest.raises(EraError, match="is not a run folder"):
        run.curves()


def test_curves_name_the_lines_they_leave_out(runs_dir: Path) -> None:
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


def test_the_curves_of_a_real_run_cover_every_step(finished_run: Path) -> None:
    run = Run(finished_run)
    curves, document = run.curves(), run.read()
    assert (curves.status, curves.planned_epochs) == ("finished", 3)
    assert len(curves.rates) == 3 * curves.steps_per_epoch == len(run.steps())
    assert curves.best is not None
    assert document.result is not None
    assert curves.best.epoch == document.result.best_epoch
    assert curves.test_acc == document.result.test_acc
    for row in curves.epochs:
        assert row.lr == curves.rates[row.epoch * curves.steps_per_epoch - 1]
