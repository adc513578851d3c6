"""Real runs verified: what they recorded is what comes out again, and what was changed is found."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from era_cli.core.data import run_data
from era_cli.core.fit import start
from era_cli.core.fit.fit import Fit
from era_cli.core.networks import checkpoint
from era_cli.core.training import devices
from era_cli.core.training.setup import Setup
from era_cli.core.verify import recorded, validation
from era_cli.core.verify.recorded import Recorded
from era_cli.core.verify.request import VerifyRequest
from era_cli.core.verify.rounding import Rounding
from era_cli.core.verify.verify import verify
from era_cli.errors import Interrupted
from era_cli.listener import Advance, Listener
from era_cli.results import FitResult, Verification
from era_cli.runs import artifacts
from era_cli.runs.run import Run
from tests.sessions import resumed, say_computed_by, stopped
from tests.support import digit_folder, request

CPU = devices.Device(accelerator="cpu", name="a processor", precision="fp32")


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, which must be empty afterwards."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Run:
    """A copy of the finished run, to be written to."""
    return Run(Path(shutil.copytree(finished_run, tmp_path / "runs" / "mine")))


def asked(run: Run, **changes: Any) -> VerifyRequest:
    defaults: dict[str, Any] = {
        "source": None,
        "data_dir": None,
        "gpus": "auto",
        "steps": None,
        "from_scratch": False,
    }
    return VerifyRequest(run=run, document=run.read(), **{**defaults, **changes})


def statuses(found: Verification) -> dict[str, str]:
    return {check.name: check.status for check in found.checks}


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When each file and folder was changed, and what each file holds."""
    paths = [folder, *folder.rglob("*")]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in paths}


def change_weight(path: Path) -> None:
    """Adds a little to one weight."""
    state = checkpoint.read(path)
    state["state_dict"]["network.linear.weight"][0, 0] += 1e-3
    path.unlink()  # best.ckpt may be the same file
    checkpoint.write(state, path)


def test_a_run_is_reproduced_bit_for_bit_and_left_as_it_is(run: Run, scratch: Path) -> None:
    before = content(run.path)
    found = verify(asked(run), Listener())
    assert (found.status, found.first_step, found.last_step) == ("identical", 11, 15)
    result = run.read().result
    assert result is not None
    validated = ["validation"] * (result.best_epoch < 3)
    names = [
        "images",
        "counts",
        "checkpoints",
        "steps",
        "epochs",
        "weights",
        "optimizer",
        *validated,
        "rows",
        "test",
        "predictions",
    ]
    assert [check.name for check in found.checks] == names
    assert set(statuses(found).values()) == {"identical"}
    assert content(run.path) == before
    assert list(scratch.iterdir()) == []


def test_a_changed_weight_is_found_even_on_another_torch(run: Run) -> None:
    change_weight(run.checkpoints / artifacts.LAST)
    document = run.read()
    say_computed_by(run, versions={"torch": "1.0"})
    found = verify(asked(run), Listener())
    assert found.changes == (f"a different PyTorch version (1.0 then, {document.versions.torch} now)",)
    assert (statuses(found)["steps"], statuses(found)["weights"]) == ("identical", "differs")
    assert found.first is not None
    assert "network.linear.weight: 1 of 640 numbers differs, by up to 0.001" in found.first.detail
    assert found.cause is not None
    assert found.cause.startswith("a damaged or changed checkpoint")  # best.ckpt is of the same step


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two threads need two cores")
@pytest.mark.usefixtures("whole_network")  # the narrow one rounds alike with any number of threads
def test_another_number_of_threads_is_named_as_the_cause(fit_digits: Callable[..., Fit]) -> None:
    assert torch.get_num_threads() == 1
    fit = fit_digits()
    fit.train(Listener())
    run = fit.run
    say_computed_by(run, device={"threads": 2})
    found = verify(asked(run, steps=1), Listener())
    assert found.first is not None
    assert found.first.detail.startswith("step 11: loss ")
    assert found.cause is not None
    assert found.cause.startswith("a number of threads other than the 2 recorded")
    assert torch.get_num_threads() == 1


def test_a_run_repeated_from_scratch_is_the_same(run: Run) -> None:
    change_weight(run.checkpoints / artifacts.BEST)
    found = verify(asked(run, from_scratch=True), Listener())
    assert (found.first_step, found.last_step) == (1, 15)
    told = statuses(found)
    assert {told[name] for name in ("steps", "epochs", "weights", "optimizer")} == {"identical"}
    assert {told[name] for name in ("best", "test")} == {"differs"}
    assert found.cause is not None
    assert found.cause.startswith("a damaged or changed checkpoint")


def test_a_replaced_best_checkpoint_is_found_by_its_validation(run: Run) -> None:
    """With last.ckpt of another step nothing else but its row in metrics.csv says what it was."""
    path = run.checkpoints / artifacts.BEST
    state = checkpoint.read(run.checkpoints / artifacts.PREVIOUS)
    state["state_dict"]["network.linear.weight"].neg_()
    path.unlink()
    checkpoint.write(state, path)
    setup = Setup.of_run(run.read(), run_data.load(run, run.read(), data_dir=None, listener=Listener()), CPU)
    kept = Recorded.of(run, run.read())
    check = validation.check_best(run, run.read(), setup, kept, Rounding(True, "fp32"), Listener())
    assert check is not None
    assert (check.name, check.status) == ("validation", "differs")
    path.unlink()
    checkpoint.write(checkpoint.read(run.checkpoints / artifacts.PREVIOUS), path)
    check = validation.check_best(run, run.read(), setup, kept, Rounding(True, "fp32"), Listener())
    assert check is not None
    assert check.status == "identical"  # the same bits as in training


def test_a_session_that_saved_nothing_does_not_count(run: Run) -> None:
    run.update(device=replace(run.read().device, threads=(os.cpu_count() or 1) + 1), result=None, status="interrupted")
    found = verify(asked(run, steps=1), Listener())
    assert (found.status, found.changes) == ("identical", ())


def test_an_edited_count_is_found(run: Run) -> None:
    result = run.read().result
    assert result is not None
    run.update(result=replace(result, test_total=10_000))
    found = verify(asked(run, steps=1), Listener())
    assert found.first is not None
    assert found.first.detail == "result.test_total 10,000 in run.json, 359 found"
    assert found.cause is not None
    assert found.cause.startswith("an edited run.json")


def test_a_run_stopped_within_an_epoch_and_its_moved_images(tmp_path: Path) -> None:
    photos = digit_folder(tmp_path / "photos", {"3": 30, "8": 30})
    fields: dict[str, Any] = {"batch_size": 8, "limit_train": 32, "epochs": 2}
    run = stopped(start.prepare(request(tmp_path / "runs", source=str(photos), **fields), Listener()), 2)
    found = verify(asked(run), Listener())  # its only checkpoint
    assert (found.status, found.first_step, found.last_step) == ("identical", 1, 2)
    stopped(resumed(run), 2)  # to the end of the epoch
    moved = photos.rename(tmp_path / "moved")
    found = verify(asked(run, source=str(moved)), Listener())
    assert (found.status, found.first_step, found.last_step) == ("identical", 3, 4)
    assert (statuses(found)["epochs"], statuses(found)["test"]) == ("identical", "skipped")
    found = verify(asked(run, source=str(moved), from_scratch=True), Listener())
    assert (found.status, found.first_step, found.last_step) == ("identical", 1, 4)
    three, eight = (next((moved / name).iterdir()) for name in ("3", "8"))
    shutil.copy(eight, three)
    found = verify(asked(run, source=str(moved)), Listener())
    assert (found.status, statuses(found)["steps"]) == ("differs", "skipped")
    assert found.cause is not None
    assert found.cause.startswith("changed images")


def test_a_signal_leaves_nothing_behind(run: Run, scratch: Path) -> None:
    class Stop(Listener):
        @contextlib.contextmanager
        def work(self, what: str, total: int, unit: str = "images") -> Iterator[Advance]:
            assert list(scratch.iterdir())
            yield lambda done: os.kill(os.getpid(), signal.SIGINT)

    before = content(run.path)
    with pytest.raises(Interrupted) as caught:
        verify(asked(run), Stop())
    assert caught.value.exit_code == 130
    assert list(scratch.iterdir()) == []
    assert content(run.path) == before


def test_edited_rows_and_results_disagree(finished_run: Path) -> None:
    run, document = Run(finished_run), Run(finished_run).read()
    whole = Recorded.of(run, document)
    assert recorded.check_rows(whole, document).status == "identical"
    result = document.result
    assert result is not None

    def wrong(result: FitResult = result, **changes: Any) -> str:
        found = recorded.check_rows(replace(whole, **changes), replace(document, result=result))
        assert found.status == "differs"
        return found.detail

    steps, epochs = whole.steps, whole.epochs
    edited = [*steps[:6], replace(steps[6], loss=1.5), *steps[7:]]
    assert wrong(steps=edited).startswith("step 7: loss 1.5 in steps.csv, ")
    assert wrong(steps=[*steps[:6], *steps[7:]]).startswith("row 7 of steps.csv is missing")
    assert wrong(steps=[*steps, replace(steps[-1], step=16)]) == "steps.csv has 16 rows, but the run has 15"
    better = [epochs[0], replace(epochs[1], val_acc=0.25), epochs[2]]
    assert wrong(epochs=better).startswith("epoch 2: val_acc 0.25 in metrics.csv, ")
    assert wrong(replace(result, val_acc=0.25)).startswith("val_acc 0.25 in run.json, ")
    # A cherry-picked epoch is not the best one, unless the state of the best was lost.
    best = result.best_epoch
    other = epochs[0] if best != 1 else epochs[1]
    picked = replace(result, best_epoch=other.epoch, val_acc=other.val_acc, val_loss=other.val_loss)
    assert wrong(picked) == f"best_epoch {other.epoch} in run.json, but epoch {best} is the best in metrics.csv"
    lost = replace(document, result=picked, lost_epochs=tuple({1, 2, 3} - {other.epoch}))
    assert "is the best in" not in recorded.check_rows(whole, lost).detail
    assert wrong(left_out=("line 3 of steps.csv, which is damaged",)) == "line 3 of steps.csv, which is damaged"
    # Checkpoints of earlier versions hold no rows: the files are compared with each other.
    last = dict(whole.states[artifacts.LAST])
    older: dict[str, Any] = {"states": {artifacts.LAST: {**last, "callbacks": {}}}}
    assert recorded.check_rows(replace(whole, **older), document).status == "identical"
    assert wrong(steps=edited, **older).startswith("epoch 2: train_loss ")


def test_a_damaged_checkpoint_is_no_basis_for_a_replay(run: Run) -> None:
    path = run.checkpoints / artifacts.LAST
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1000])
    found = verify(asked(run, steps=1), Listener())
    assert (found.status, found.last_step) == ("differs", None)
    assert (statuses(found)["checkpoints"], statuses(found)["steps"]) == ("differs", "skipped")
    assert found.cause is not None
    assert found.cause.startswith("a damaged or changed checkpoint")
