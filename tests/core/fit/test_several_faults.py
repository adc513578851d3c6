"""Several processes on the CPU, of which one stops, is killed, fails, or has other data: all end together."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from era_cli.core.networks import checkpoint
from era_cli.runs import artifacts
from era_cli.runs.run import Run
from tests.several import OPTIONS, ROOT, ended, era, free_port, none_left
from tests.support import assert_equal_runs

DURING = 10  # a step of the second epoch

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and process groups of POSIX")


def by_torchrun(runs: Path, *arguments: str) -> None:
    """Three processes, started by the line of the documentation."""
    page = (ROOT / ".github" / "docs" / "several.md").read_text(encoding="utf-8")
    (option,) = re.findall(r"^torchrun (--[a-z-]+) 4 -m era_cli fit", page, re.MULTILINE)
    launcher = ("-m", "torch.distributed.run", "--standalone", option, "3", "-m")
    ended(era(runs, *arguments, launcher=launcher))


def by_srun(runs: Path, *arguments: str) -> None:
    """Three nodes of one task each, by SLURM's variables alone; all but the first print nothing."""
    alike = {
        **{"SLURM_NTASKS": "3", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "3"},
        **{"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_LOCALID": "0"},
        **{"SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": free_port()},
    }
    tasks = [
        era(runs, *arguments, env={**alike, "SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank)}) for rank in range(3)
    ]
    assert [ended(task) for task in tasks][1:] == [("", "")] * 2


def test_a_stopped_run_equals_one_that_was_not(tmp_path: Path) -> None:
    """Three processes, since of two numbers any sum is the same; it does not matter what starts them.

    torchrun starts those that nothing disturbs. A signal stops one of those that era starts, and srun resumes the run.
    """
    fit = ("fit", *OPTIONS, "--name=three")
    by_torchrun(tmp_path / "undisturbed", *fit)
    runs = tmp_path / "runs"
    _, err = ended(era(runs, *fit, "--cpu-procs=3", env={"AT_STEP": f"1:{DURING}:SIGTERM:self"}), 143)
    assert none_left(runs)
    assert err.count("is saved; resume it with: era fit --resume") == err.count("Stopped by SIGTERM.") == 1
    run = Run(runs / "three")
    assert run.read().status == "interrupted"
    assert checkpoint.read(run.checkpoints / artifacts.LAST)["global_step"] == DURING + 1
    by_srun(runs, "fit", "--resume=three")
    assert run.read().device.nodes == 3
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
