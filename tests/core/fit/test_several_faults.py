"""Several processes on the CPU, of which one stops, is killed, fails, or has other data: all end together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from era_cli.core.networks import checkpoint
from era_cli.runs import artifacts
from era_cli.runs.run import Run
from tests.several import OPTIONS, ended, era, free_port, none_left
from tests.support import assert_equal_runs

DURING = 10  # a step of the second epoch

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and process groups of POSIX")


def test_a_stopped_run_equals_one_that_was_not(tmp_path: Path) -> None:
    """A signal to one of three processes; three, since of two numbers any sum is the same."""
    undisturbed = ("fit", *OPTIONS, "--cpu-procs=3", "--name=three")
    ended(era(tmp_path / "undisturbed", *undisturbed))
    runs = tmp_path / "runs"

    def disturbed(*arguments: str, at: str, code: int) -> str:
        _, err = ended(era(runs, *arguments, env={"AT_STEP": at}), code)
        assert none_left(runs)
        return err

    run = Run(runs / "three")
    err = disturbed(*undisturbed, at=f"1:{DURING}:SIGTERM:self", code=143)
    assert err.count("is saved; resume it with: era fit --resume") == err.count("Stopped by SIGTERM.") == 1
    assert run.read().status == "interrupted"
    assert checkpoint.read(run.checkpoints / artifacts.LAST)["global_step"] == DURING + 1
    ended(era(runs, "fit", "--resume=three"))
    assert_equal_runs(run.path, tmp_path / "undisturbed" / "three")


def test_a_killed_process_is_one_sentence(tmp_path: Path) -> None:
    _, err = ended(era(tmp_path, "fit", *OPTIONS, "--cpu-procs=2", env={"AT_STEP": "1:3:SIGKILL:self"}), 1)
    assert err.splitlines()[-1].startswith("Error: one of the 2 processes ended unexpectedly")
    assert none_left(tmp_path)


def test_data_that_differ_on_another_machine_are_named(tmp_path: Path) -> None:
    """Here the second process is told of another folder than the first."""
    for folder, grey in (("mine", 100), ("other", 200)):
        for number in range(60):
            image = tmp_path / folder / "ab"[number % 2] / f"{number}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), grey + number % 2 * 40).save(image)
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    options = ("fit", "--batch-size=8", "--epochs=1")
    both = [
        era(tmp_path / "runs", *options, f"--data={tmp_path / data}", env={**where, "RANK": str(rank)})
        for rank, data in enumerate(("mine", "other"))
    ]
    _, err = ended(both[0], 1)
    assert "Error: rank 1 of 2 processes failed: the images of" in err.splitlines()[-1]
    assert "are not those that" in err.splitlines()[-1]
    ended(both[1], 1)
