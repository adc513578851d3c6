"""`era verify`: an exit code, a table or a document, and one sentence where it fails."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from era_cli.runs.run import Run
from tests.support import files, invoke


@pytest.fixture
def whole_run(finished_run: Path, tmp_path: Path) -> Run:
    """A copy of the finished run with all its checkpoints, as runs/mine in the working folder."""
    return Run(Path(shutil.copytree(finished_run, tmp_path / "runs" / "mine")))


def test_a_reproduced_run_ends_with_0_and_says_so(whole_run: Run) -> None:
    before = files(whole_run.path)
    done = invoke("verify", "--steps=2")
    assert done.stdout.splitlines()[-1] == (
        "Bit-identical on this machine: steps 11 to 12 replayed, weights not compared."
    )
    assert done.stderr.splitlines() == [
        "replaying: 2 steps",
        "validating the best epoch: 16 images",
        "testing the best epoch: 359 images",
    ]
    assert files(whole_run.path) == before


def test_a_changed_result_ends_with_1_and_the_first_difference(whole_run: Run) -> None:
    result = whole_run.read().result
    assert result is not None
    whole_run.update(result=dataclasses.replace(result, test_loss=result.test_loss + 0.5))
    done = invoke("verify", "--steps=1", "--json", code=1)
    told = json.loads(done.stdout)
    assert (told["status"], told["reproduced"], told["first_step"], told["last_step"]) == ("differs", False, 11, 11)
    assert told["run"] == "runs/mine"
    assert [check["name"] for check in told["checks"] if check["status"] == "differs"] == ["test"]
    assert done.stderr.splitlines()[-1] == (
        f"Error: runs/mine could not be reproduced: test_loss {result.test_loss + 0.5!r} in run.json,"
        f" {result.test_loss!r} recomputed; likely cause: run.json or best.ckpt was changed after the test"
    )
