"""`era fit` as its users run it: as a process where a pipe, a signal or a terminal matters."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from torch.nn import functional

from era_cli.cli import app
from era_cli.core.networks import checkpoint
from era_cli.errors import Interrupted
from era_cli.recipes import Recipe, flag
from era_cli.runs import artifacts
from era_cli.runs.document import SCHEMA
from era_cli.runs.run import Run
from tests.support import (
    ERA,
    ESCAPE,
    NARROW_ERA,
    TINY_OPTIONS,
    environment,
    era,
    files,
    invoke,
    make_run,
    named_files,
    on_a_terminal,
    start,
    too_wide,
)

COMMANDS: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]
SHORT = (*TINY_OPTIONS, "--limit-train=160", "--epochs=1")
ENDLESS = (*TINY_OPTIONS, "--epochs=500")


def wait_for_epoch(child: subprocess.Popen[str], epoch: int) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip().startswith(f"{epoch}/"):
            return
    raise AssertionError(child.stderr.read() if child.stderr else "")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One run of the whole network off an ASCII terminal of 60 columns: a named recipe, an option of every type."""
    folder = tmp_path_factory.mktemp("empty")
    options = ("--recipe=session12", "--nesterov", "--no-decay-norm-and-bias", "--max-lr=0.01", "--crop-padding=2")
    done = era("fit", *SHORT, "--epochs=2", *options, cwd=folder, program=ERA, COLUMNS="60", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    return done, folder


def test_off_a_terminal_epochs_are_plain_lines(plain: Any) -> None:
    done, _ = plain
    assert len([line for line in done.stdout.splitlines() if re.match(r"\s+\d/2\s", line)]) == 2
    assert re.search(r"test accuracy\s+\d+\.\d\d% \(\d+ of 359\)", done.stdout)
    assert "6,573,130" in done.stdout
    assert ESCAPE not in done.stdout + done.stderr
    assert done.stdout.isascii()
    assert too_wide(done.stdout) == []


def test_every_file_of_the_run_is_named(plain: Any) -> None:
    done, folder = plain
    visible = {name for name in files(folder / "runs") if not Path(name).name.startswith(".")}
    opened, _, rest = done.stdout.partition("also in runs/digits-1: ")
    others, _, then = rest.partition("\nNext: ")
    assert opened.splitlines()[-3:] == [
        f"runs/digits-1/{name}" for name in ("curves.png", "metrics.csv", "samples.png")
    ]
    assert {f"runs/{name}" for name in visible} == {
        *opened.splitlines()[-3:],
        *(f"runs/digits-1/{name}" for name in re.split(r",\s+", others)),
    }
    assert then == "era eval\n"
    names = {Path(name).name for name in visible}
    assert {"run.json", "metrics.csv", "steps.csv", "samples.png", "last.ckpt", "best.ckpt"} <= names
    assert not [name for name in files(folder) if name.endswith(".partial")]


def test_options_replace_fields_of_the_named_recipe(plain: Any) -> None:
    recipe = Run(plain[1] / "runs" / "digits-1").read().recipe
    assert (recipe.name, recipe.warmup, recipe.anneal, recipe.crop_mode) == ("session12", 5 / 24, "linear", "zero")
    assert (recipe.nesterov, recipe.decay_norm_and_bias, recipe.max_lr, recipe.crop_padding) == (True, False, 0.01, 2)


def test_json_is_alone_on_stdout_though_a_figure_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr("era_cli.reports.fit.training_samples", broken)
    done = invoke("fit", *SHORT, "--json", "--name=mine")
    document = json.loads(done.stdout)
    assert (document["schema"], document["status"], document["run"]) == (SCHEMA, "finished", "runs/mine")
    assert document["result"]["test_count"] == 359
    assert all((tmp_path / file).is_file() for file in document["files"])
    assert "runs/mine/curves.png" in document["files"]
    assert "runs/mine/samples.png" not in document["files"]
    assert "1/1" in done.stderr
    assert "Warning: samples.png was not drawn (no font)" in done.stderr


def test_a_diverged_run_gets_its_curves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real, metrics = functional.cross_entropy, tmp_path / "runs" / "mine" / "metrics.csv"

    def poisoned(*arguments: Any, **options: Any) -> Any:
        return real(*arguments, **options) * (float("nan") if metrics.exists() else 1)

    monkeypatch.setattr(functional, "cross_entropy", poisoned)
    done = invoke("fit", *SHORT, "--epochs=2", "--name=mine", code=1)
    assert "diverged" in done.stderr
    assert (tmp_path / "runs" / "mine" / "curves.png").is_file()
    assert "runs/mine/curves.png" in named_files(done.stdout)
    metrics.unlink()
    as_json = invoke("fit", *SHORT, "--epochs=2", "--name=mine", "--overwrite", "--json", code=1)
    assert as_json.stdout == ""
    assert "runs/mine/curves.png" in as_json.stderr.splitlines()


def test_a_new_run_that_fails_at_once_leaves_the_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "mine", seconds=1234.0)

    def exhausted(*arguments: Any, **options: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(functional, "cross_entropy", exhausted)
    done = invoke("fit", *SHORT, "--name=mine", "--overwrite", code=1)
    *_, warning, error = done.stderr.splitlines()
    assert warning == "Warning: The new run did not get through its first step: runs/mine is still the old one."
    assert "memory ran out" in error
    assert Run(tmp_path / "runs" / "mine").read().seconds == 1234.0


def test_a_closed_pipe_does_not_stop_training(tmp_path: Path) -> None:
    command = f"{' '.join(NARROW_ERA)} fit {' '.join(SHORT)} | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert Run(tmp_path / "runs" / "digits-1").read().status == "finished"


def test_sigterm_saves_and_exits_with_143(tmp_path: Path) -> None:
    with start(tmp_path, "fit", *ENDLESS) as child:
        wait_for_epoch(child, 1)
        assert "in use" in invoke("fit", "--resume=digits-1", code=1).stderr
        time.sleep(0.3)  # into an epoch
        child.send_signal(signal.SIGTERM)
        _, errors = child.communicate(timeout=60)
    run = Run(tmp_path / "runs" / "digits-1")
    assert child.returncode == 143
    assert "resume it with: era fit --resume digits-1\n" in errors
    assert "Traceback" not in errors
    assert run.read().status == "interrupted"
    step = checkpoint.read(run.checkpoints / artifacts.LAST)["global_step"]
    assert step == run.steps()[-1].step > 40
    refused = invoke("fit", "--resume=latest", "--epochs=3", code=2)
    assert "--epochs 3 differs from the 500" in refused.stderr


def test_ctrl_c_among_seeds_names_those_left(tmp_path: Path) -> None:
    with start(tmp_path, "fit", *ENDLESS, "--seeds=4", "--seed=7") as child:
        wait_for_epoch(child, 1)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "--resume digits-1" in errors
    assert "Seeds 8 to 10 were not started: run the same command with --seed 8 --seeds 3." in errors
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["digits-1"]


def test_a_seed_stopped_while_its_data_load_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from era_cli.core.fit import start as core

    prepare = core.prepare

    def stopped_once_one_is_done(*arguments: Any) -> Any:
        if list(tmp_path.glob("runs/*")):
            raise Interrupted(signal.SIGINT)
        return prepare(*arguments)

    monkeypatch.setattr(core, "prepare", stopped_once_one_is_done)
    done = invoke("fit", *SHORT, "--seeds=3", code=130)
    assert "Seeds 1 to 2 were not started: run the same command with --seed 1 --seeds 2." in done.stderr
    shutil.rmtree(tmp_path / "runs")
    done = invoke("fit", *SHORT, "--seeds=2", "--name=mine", code=130)
    again = "--seed 1 --name mine-1, without --seeds"  # so that it has the name it would have had
    assert f"Seed 1 was not started: run the same command with {again}." in done.stderr


def test_only_files_of_the_fit_are_named(tmp_path: Path) -> None:
    invoke("fit", *SHORT, "--name=mine")
    invoke("eval", "--gpus=0")  # which may have been of an earlier checkpoint
    run = Run(tmp_path / "runs" / "mine")
    run.update(status="interrupted", result=None)
    done = invoke("fit", "--resume=mine", "--gpus=0")
    assert "curves.png" in done.stdout
    assert "confusion.png" not in done.stdout


def test_on_a_terminal_a_bar_comes_and_goes_uncolored(tmp_path: Path) -> None:
    screen = on_a_terminal(tmp_path, "fit", *SHORT, NO_COLOR="1")
    for text in ("epoch 1/1", "images/s", "left", "Result"):
        assert text in screen
    assert screen.rindex(f"{ESCAPE}[?25h") > screen.rindex(f"{ESCAPE}[?25l")  # the cursor hides and comes back
    assert re.findall(f"{ESCAPE}\\[[0-9;]*(?:3[0-7]|4[0-7]|9[0-7])m", screen) == []


@pytest.mark.parametrize("command", ["fit", "lr-find"])
def test_every_recipe_field_that_matters_is_an_option(command: str) -> None:
    options = {option for parameter in COMMANDS[command].params for option in parameter.opts}
    unused = {"epochs", "max_lr", "warmup", "anneal", "div_factor", "final_div_factor", "compile"}
    unused |= {"limit_val", "limit_test"}  # a sweep neither validates nor tests
    unused |= {"initial_size", "grow_until"}  # and all its images have their full size
    for spec in dataclasses.fields(Recipe):
        if command == "fit" or spec.name not in unused:
            assert flag(spec.name) in options
        elif spec.name != "max_lr":  # lr-find has an option of that name for its own last rate
            assert flag(spec.name) not in options


def test_seeds_are_ordinary_runs_with_their_mean(tmp_path: Path) -> None:
    done = invoke("fit", *SHORT, "--seed=4", "--seeds=2", "--quiet")
    quiet = done.stdout
    assert all(line.startswith("Warning: ") for line in done.stderr.splitlines())
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["digits-1", "digits-2"]
    documents = [Run(tmp_path / "runs" / name).read() for name in ("digits-1", "digits-2")]
    assert [(document.seed, document.status) for document in documents] == [(4, "finished"), (5, "finished")]
    accuracies = [document.result.test_acc for document in documents if document.result is not None]
    assert re.fullmatch(rf"mean test accuracy {sum(accuracies) / 2:.2%}, standard deviation .* \(2 seeds\)\n", quiet)
    again = json.loads(invoke("fit", *SHORT, "--seed=4", "--seeds=2", "--name=two", "--json").stdout)
    assert again["schema"] == SCHEMA
    assert [run["run"] for run in again["runs"]] == ["runs/two-4", "runs/two-5"]
    assert [run["result"]["test_acc"] for run in again["runs"]] == accuracies
    assert again["result"]["test_acc"] == pytest.approx(sum(accuracies) / 2)
    taken = invoke("fit", *SHORT, "--seed=3", "--seeds=3", "--name=two", code=2)
    assert taken.stdout == ""
    assert "two-4 already exists" in taken.stderr


def test_a_resumed_run_may_repeat_its_name(tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    done = invoke("fit", *SHORT, "--resume=mine", "--name=mine", code=1)
    assert "there is no run 'mine'" in done.stderr  # and not that its name is taken


def test_a_finished_run_is_not_trained_and_nothing_is_wrong(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that resumes until all is done gets what the run itself printed."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished_run, tmp_path / "runs" / "done")
    before = files(tmp_path)
    printed = invoke("fit", "--resume", "done")
    assert "Note: runs/done is finished (3 epochs): to train longer, start a new run" in printed.stderr
    assert "test accuracy" in printed.stdout
    assert "runs/done/metrics.csv" in printed.stdout
    answer = json.loads(invoke("fit", "--resume", "done", "--json").stdout)
    stored = json.loads((tmp_path / "runs" / "done" / "run.json").read_text())
    assert (answer["result"]["test_acc"], answer["run"]) == (stored["result"]["test_acc"], "runs/done")
    quiet = invoke("fit", "--resume", "done", "--quiet")
    assert (quiet.stdout.startswith("test accuracy "), quiet.stderr) == (True, "")
    invoke("fit", "--resume", "done", "--epochs", "9", code=2)
    assert files(tmp_path) == before
