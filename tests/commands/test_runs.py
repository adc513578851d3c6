"""`era runs` as its users run it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from era_cli.core.evaluation import predictions, slim
from era_cli.core.fit import start
from era_cli.core.networks import checkpoint
from era_cli.core.training.setup import Setup
from era_cli.errors import EraError
from era_cli.runs import artifacts
from era_cli.runs.run import Run
from tests.support import RESULT, as_json, curve_run, environment, files, invoke, make_run, the_error, too_wide
from tests.test_imports import HEAVY

RUNS = Path("runs")
CHECKPOINTS = [f"checkpoints/{name}.ckpt" for name in ("best", "last", "previous")]


def test_the_runs_are_listed_and_the_next_command_works() -> None:
    assert invoke("runs").stdout.startswith("There is no run under runs yet")
    assert as_json("runs")["runs"] == []
    assert invoke("runs", "--quiet").stdout == ""
    make_run(RUNS, "b", started="2026-01-02T00:00:00+00:00", status="finished", result=RESULT)
    curve_run(RUNS, 3, "a")
    (RUNS / "a-broken").mkdir()
    (RUNS / "a-broken" / "run.json").write_text("{")
    done = invoke("runs", COLUMNS="60")
    *lines, then = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[4:7]] == ["a", "b", "a-broken"]
    assert "runs/a-broken/run.json is not valid JSON" in lines[-1]
    assert (then, done.stderr) == ("Next: era runs b", "")
    invoke(*shlex.split(then)[2:])
    assert invoke("runs", "--quiet", "--sort=status").stdout == "b\na\na-broken\n"
    rows = as_json("runs", "--sort=name")["runs"]
    assert [(row["run"], row["status"], row["test_acc"]) for row in rows] == [
        ("runs/a", "interrupted", None),
        ("runs/a-broken", "unreadable", None),
        ("runs/b", "finished", 0.875),
    ]


def test_listing_loads_nothing_heavy(tmp_path: Path) -> None:
    curve_run(RUNS, 3, "a")
    program = (
        "import sys; from era_cli.cli import app\n"
        "try: app(sys.argv[1:], prog_name='era')\n"
        "finally: print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    for arguments in (["runs"], ["runs", "a"], ["runs", "a", "--slim"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, text=True, env=environment()
        )
        assert set(done.stderr.splitlines()[-1].split()) & HEAVY == set(), arguments


def test_one_run_is_shown_whole(run: Run) -> None:
    done = invoke("runs", "latest", COLUMNS="60").stdout
    assert too_wide(done) == []
    for text in (
        "runs/mine",
        "finished, 3 of 3 epochs",
        "checkpoints/best.ckpt",
        "Metrics per epoch",
        "decided by the",
    ):
        assert text in done
    assert done.splitlines()[-1] == "Next: era eval"
    told = as_json("runs", "mine")
    stored = json.loads(run.document_file.read_text())
    assert {key: told[key] for key in stored if key != "result"} == {
        key: stored[key] for key in stored if key != "result"
    }
    assert {file["path"] for file in told["contents"]} == {name for name in files(run.path) if name != ".lock"}
    assert "runs/mine/metrics.csv" in told["files"]


def test_the_command_that_repeats_a_run_gives_its_recipe(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    line = next(line for line in invoke("runs", "mine").stdout.splitlines() if line.startswith("repeat with"))
    asked: list[Any] = []

    def stop(request: Any, *given: Any) -> Any:
        asked.append(Setup.of(request, given[0]).recipe)
        raise EraError("enough")

    monkeypatch.setattr(start, "prepare", stop)
    invoke(*shlex.split(line.removeprefix("repeat with"))[1:], "--gpus=0", code=1)
    assert asked == [run.read().recipe]


# Slim


@pytest.fixture
def mine(finished_run: Path) -> Run:
    """A run with its training states, which a test may slim."""
    return Run(Path(shutil.copytree(finished_run, RUNS / "mine")))


def states(run: Run) -> list[str]:
    return sorted(name for name in files(run.path) if name.endswith(".ckpt"))


def logits(run: Run) -> Any:
    return np.load(run.path / artifacts.predictions("test"))["logits"]


def test_a_slim_run_evaluates_as_before(mine: Run) -> None:
    before, size = logits(mine), (mine.checkpoints / artifacts.BEST).stat().st_size
    done = invoke("runs", "--slim", "mine", "--yes").stdout
    assert "freed" in done
    assert states(mine) == ["checkpoints/best.ckpt"]
    assert (mine.checkpoints / artifacts.BEST).stat().st_size < 0.6 * size
    assert "cached in predictions-test.npz" in invoke("eval").stdout
    (mine.path / artifacts.predictions("test")).unlink()
    invoke("eval", "--gpus=0")
    np.testing.assert_allclose(logits(mine), before, atol=1e-5)
    invoke("gradcam", "--n=1", "--layer=layer1")
    assert "removed  nothing" in invoke("runs", "--slim", "mine", "--yes").stdout
    assert "era runs --slim removes them" in the_error(invoke("verify", code=1))
    assert "runs/mine is finished" in invoke("fit", "--resume=mine").stderr
    assert "neither resumed nor verified" in invoke("runs", "mine").stdout


def test_slimming_asks_first(mine: Run) -> None:
    before = states(mine)
    said = the_error(invoke("runs", "--slim", "mine", code=2))
    assert "no longer be resumed" in said
    assert "--yes" in said
    assert states(mine) == before


@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_a_kill_leaves_a_valid_run_and_slimming_it_again_finishes(
    mine: Run, killed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    left = [killed_at]

    def dying(change: Any) -> Any:
        def changed(*given: Any, **more: Any) -> Any:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return change(*given, **more)

        return changed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", dying(Path.unlink))
        patch.setattr(checkpoint, "write", dying(checkpoint.write))
        patch.setattr(predictions, "adopt", dying(predictions.adopt))
        with pytest.raises(Killed):
            slim.slim(mine)
    before = logits(mine)
    invoke("eval", "--gpus=0")
    np.testing.assert_allclose(logits(mine), before, atol=1e-5)
    slim.slim(mine)
    assert states(mine) == ["checkpoints/best.ckpt"]
    assert "cached in" in invoke("eval").stdout


def test_what_must_not_be_slimmed_is_left_alone(mine: Run, tmp_path: Path) -> None:
    def refused(code: int = 1) -> str:
        before = files(mine.path)
        said = the_error(invoke("runs", "mine", "--slim", "--yes", code=code))
        assert files(mine.path) >= before
        return said

    with mine.lock():
        assert "is in use" in refused()
    mine.update(status="interrupted")
    assert "is not finished (status interrupted)" in refused()
    with pytest.raises(EraError, match="is not finished"):
        slim.slim(mine)
    mine.update(status="finished")
    link = mine.checkpoints / "previous.ckpt"
    link.rename(tmp_path / "previous.ckpt")
    link.symlink_to(tmp_path / "previous.ckpt")
    assert "is a link" in refused()
    link.unlink()
    checkpoint.write({"state_dict": {}, "global_step": 15}, mine.checkpoints / artifacts.BEST)
    assert "does not fit the network" in refused()
    assert states(mine) == ["checkpoints/best.ckpt", "checkpoints/last.ckpt"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [("--slim", "name it"), ("mine --yes", "give it with --slim"), ("--sort=tes", "did you mean test?")],
)
def test_wrong_usage(arguments: str, says: str) -> None:
    assert says in the_error(invoke("runs", *arguments.split(), code=2))
