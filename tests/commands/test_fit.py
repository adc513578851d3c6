"""`era fit` as its users run it: real processes, pipes and signals."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from era_cli.cli import app
from era_cli.core.networks import checkpoint
from era_cli.recipes import Recipe, flag
from era_cli.runs import artifacts
from era_cli.runs.document import SCHEMA
from era_cli.runs.run import Run
from tests.support import ERA, ESCAPE, environment, era, the_error

COMMANDS: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]
DIGITS = ("--data=digits", "--image-size=8", "--batch-size=32", "--gpus=0", "--precision=32")
TINY = (*DIGITS, "--limit-train=160", "--epochs=2")
ENDLESS = (*DIGITS, "--epochs=500")


def start(cwd: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*ERA, "fit", *ENDLESS, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def wait_for_epoch(child: subprocess.Popen[str], epoch: int) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip().startswith(f"{epoch}/"):
            return
    raise AssertionError(child.stderr.read() if child.stderr else "")


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One plain run off a terminal, in an empty folder."""
    folder = tmp_path_factory.mktemp("empty")
    return era("fit", *TINY, cwd=folder, COLUMNS="60"), folder


def test_off_a_terminal_there_is_one_plain_line_per_epoch_and_the_result(tour: Any) -> None:
    done, _ = tour
    assert done.returncode == 0, done.stderr
    epochs = [line for line in done.stdout.splitlines() if re.match(r"\s+\d/2\s", line)]
    assert len(epochs) == 2
    assert ESCAPE not in done.stdout + done.stderr
    assert re.search(r"test accuracy\s+\d+\.\d\d% \(\d+ of 359\)", done.stdout)
    assert "6,573,130" in done.stdout


def test_in_60_columns_no_line_but_a_path_is_wider(tour: Any) -> None:
    done, _ = tour
    wide = [line for line in done.stdout.splitlines() if len(line.rstrip()) > 60 and not line.startswith("runs/")]
    assert wide == []


def test_every_file_of_the_run_is_named(tour: Any) -> None:
    done, folder = tour
    files = {str(path.relative_to(folder)) for path in (folder / "runs").rglob("*") if path.is_file()}
    visible = {name for name in files if not Path(name).name.startswith(".")}
    assert visible <= set(done.stdout.split())
    names = {Path(name).name for name in visible}
    assert {"run.json", "metrics.csv", "steps.csv", "samples.png", "last.ckpt", "best.ckpt"} <= names
    assert not [name for name in files if name.endswith(".partial")]


def test_json_is_one_document_on_stdout_and_the_rest_on_stderr(tmp_path: Path) -> None:
    done = era("fit", *TINY, "--json", "--name", "mine", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert document["schema"] == SCHEMA
    assert document["status"] == "finished"
    assert document["run"] == "runs/mine"
    assert document["result"]["test_count"] == 359
    assert all((tmp_path / file).is_file() for file in document["files"])
    assert "1/2" in done.stderr


def test_quiet_prints_the_result_alone(tmp_path: Path) -> None:
    done = era("fit", *TINY, "--quiet", cwd=tmp_path)
    assert done.stdout.startswith("best epoch")
    assert "1/2" not in done.stdout
    assert all(line.startswith("Note: ") for line in done.stderr.splitlines())


def test_a_reader_that_goes_away_does_not_stop_the_training(tmp_path: Path) -> None:
    command = f"{' '.join(ERA)} fit {' '.join(TINY)} | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert Run(tmp_path / "runs" / "digits-1").read().as_dict()["status"] == "finished"


def test_an_ascii_terminal_is_no_error(tmp_path: Path) -> None:
    done = era("fit", *TINY, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_within_an_epoch_saves_and_tells_by_the_exit_code(signum: int, code: int, tmp_path: Path) -> None:
    with start(tmp_path) as child:
        wait_for_epoch(child, 1)
        time.sleep(0.3)
        child.send_signal(signum)
        _, errors = child.communicate(timeout=60)
    run = Run(tmp_path / "runs" / "digits-1")
    assert child.returncode == code
    assert "--resume digits-1" in errors
    assert "Traceback" not in errors
    assert run.read().as_dict()["status"] == "interrupted"
    step = checkpoint.read(run.checkpoints / artifacts.LAST)["global_step"]
    assert step == run.steps()[-1].step > 40
    refused = era("fit", "--resume", "latest", "--epochs", "3", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--epochs 3 differs from the 500" in refused.stderr


def test_kill_9_loses_at_most_the_epoch_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    with start(tmp_path) as child:
        wait_for_epoch(child, 1)
        child.kill()
        child.communicate()
    run = Run(tmp_path / "runs" / "digits-1")
    assert run.read().as_dict()["status"] == "running"
    with subprocess.Popen(
        [*ERA, "fit", "--resume", "digits-1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as again:
        wait_for_epoch(again, 2)
        busy = era("fit", "--resume", "digits-1", cwd=tmp_path)
        assert busy.returncode == 1
        assert "in use" in busy.stderr
        again.send_signal(signal.SIGINT)
        again.communicate(timeout=60)
    rows = run.epochs()
    assert [row.epoch for row in rows] == list(range(1, len(rows) + 1))
    assert [row.step for row in run.steps()] == list(range(1, len(run.steps()) + 1))


def on_a_terminal(cwd: Path, *arguments: str, **changes: str) -> str:
    """What a terminal 100 columns wide receives from `era fit`."""
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [*ERA, "fit", *TINY, *arguments],
        cwd=cwd,
        stdout=follower,
        stderr=follower,
        env=environment(TERM="xterm-256color", COLUMNS="100", LINES="50", **changes),
    )
    os.close(follower)
    screen = b""
    with contextlib.suppress(OSError):  # raised when the child closes the terminal
        while part := os.read(leader, 65536):
            screen += part
    os.close(leader)
    assert child.wait(timeout=60) == 0
    return screen.decode()


def test_on_a_terminal_a_bar_lives_and_goes_and_the_rows_stay(tmp_path: Path) -> None:
    screen = on_a_terminal(tmp_path, "--epochs=3")
    assert "epoch 1/3" in screen
    assert "images/s" in screen
    assert "left" in screen
    assert f"{ESCAPE}[?25l" in screen  # the cursor hides while a bar lives
    assert screen.rindex(f"{ESCAPE}[?25h") > screen.rindex(f"{ESCAPE}[?25l")  # and comes back
    assert "Result" in screen
    assert re.search(f"{ESCAPE}\\[[0-9;]*3[0-7]m", screen)


def test_no_color_is_honoured(tmp_path: Path) -> None:
    screen = on_a_terminal(tmp_path, NO_COLOR="1")
    assert re.findall(f"{ESCAPE}\\[[0-9;]*(?:3[0-7]|4[0-7]|9[0-7])m", screen) == []


def test_a_named_recipe_with_one_option_replaced(tmp_path: Path) -> None:
    done = era("fit", *TINY, "--recipe", "session12", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    recipe = Run(tmp_path / "runs" / "digits-1").read().as_dict()["recipe"]
    assert recipe["name"] == "session12"
    assert (recipe["epochs"], recipe["max_lr"], recipe["nesterov"]) == (2, 0.261, False)


@pytest.mark.usefixtures("own_place")
@pytest.mark.parametrize("command", ["fit", "lr-find"])
def test_every_recipe_field_that_matters_is_an_option(command: str) -> None:
    options = {option for parameter in COMMANDS[command].params for option in parameter.opts}
    unused = {"epochs", "max_lr", "warmup", "anneal", "div_factor", "final_div_factor", "compile"}
    for spec in dataclasses.fields(Recipe):
        if command == "fit" or spec.name not in unused:
            assert flag(spec.name) in options
        elif spec.name != "max_lr":  # lr-find has an option of that name for its own last rate
            assert flag(spec.name) not in options


@pytest.mark.usefixtures("own_place")
def test_an_option_of_every_type_reaches_the_recipe(tmp_path: Path) -> None:
    given = ("--no-nesterov", "--decay-norm-and-bias", "--warmup=0.5", "--crop-mode=zero", "--crop-padding=2")
    done = CliRunner().invoke(app, ["fit", *TINY, "--epochs=1", "--quiet", "--name=mine", *given])
    assert done.exit_code == 0, done.stderr
    recipe = Run(tmp_path / "runs" / "mine").read().recipe
    assert (recipe.nesterov, recipe.decay_norm_and_bias, recipe.warmup) == (False, True, 0.5)
    assert (recipe.crop_mode, recipe.crop_padding) == ("zero", 2)


@pytest.mark.usefixtures("own_place")
@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--warmup=1", "warmup is 1.0, but must be a number in (0, 1) (--warmup)"),
        ("--anneal=step", "anneal is 'step', but must be one of linear, cos (--anneal)"),
        ("--network=vit", "network is 'vit', but must be one of resnet (--network)"),
        ("--max-lr=fast", "--max-lr is 'fast', but must be a number or auto"),
    ],
)
def test_a_wrong_value_names_its_option(option: str, sentence: str) -> None:
    done = CliRunner().invoke(app, ["fit", option])
    assert (done.exit_code, the_error(done)) == (2, sentence)


@pytest.mark.usefixtures("own_place")
def test_seeds_are_ordinary_runs_side_by_side_and_their_mean_comes_last(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["fit", *TINY, "--seed=4", "--seeds=2", "--quiet"])
    assert done.exit_code == 0, done.stderr
    runs = [Run(tmp_path / "runs" / name) for name in ("digits-1", "digits-2")]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["digits-1", "digits-2"]
    documents = [run.read() for run in runs]
    assert [document.seed for document in documents] == [4, 5]
    assert {document.status for document in documents} == {"finished"}
    accuracies = [document.result.test_acc for document in documents if document.result is not None]
    assert len(set(accuracies)) == 2
    assert re.search(r"mean\s+" + re.escape(f"{sum(accuracies) / 2:.2%}"), done.stdout)
    alone = CliRunner().invoke(app, ["fit", *TINY, "--seed=5", "--quiet", "--json"])
    assert json.loads(alone.stdout)["result"]["test_acc"] == accuracies[1]


@pytest.mark.usefixtures("own_place")
def test_seeds_as_json_and_with_a_name(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["fit", *TINY, "--epochs=1", "--seeds=2", "--name=two", "--json"])
    document = json.loads(done.stdout)
    assert document["schema"] == SCHEMA
    assert [run["run"] for run in document["runs"]] == ["runs/two-0", "runs/two-1"]
    accuracies = [run["result"]["test_acc"] for run in document["runs"]]
    assert document["result"]["test_acc"] == pytest.approx(sum(accuracies) / 2)
    assert accuracies == [Run(tmp_path / run["run"]).read().as_dict()["result"]["test_acc"] for run in document["runs"]]
    assert (tmp_path / "runs" / "two-1" / "curves.png").is_file()
    again = CliRunner().invoke(app, ["fit", *TINY, "--seed=1", "--seeds=3", "--name=two"])
    assert (again.exit_code, again.stdout) == (2, "")
    assert "two-1 exists already" in again.stderr


def test_stopped_among_seeds_it_says_which_are_left(tmp_path: Path) -> None:
    with start(tmp_path, "--seeds=4", "--seed=7") as child:
        wait_for_epoch(child, 1)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "--resume digits-1" in errors
    assert "Seeds 8 to 10 were not started: run the same command with --seed 8 --seeds 3." in errors
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["digits-1"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--seeds=2", "--resume=latest"), "--seeds starts new runs and --resume continues one"),
        (("--seeds=0",), "--seeds"),
        (("--seeds=2", f"--seed={2**32 - 1}"), f"seed is {2**32}, but must be"),
    ],
)
def test_seeds_that_cannot_be_are_refused_before_anything_is_written(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    done = era("fit", *TINY, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("own_place")
def test_a_resumed_run_may_be_called_by_its_name_again(tmp_path: Path) -> None:
    Run(tmp_path / "runs" / "mine").path.mkdir(parents=True)
    done = CliRunner().invoke(app, ["fit", *TINY, "--resume=mine", "--name=mine"])
    assert "there is no run 'mine'" in done.stderr  # and not that its name is taken


@pytest.mark.usefixtures("own_place")
def test_a_figure_that_fails_stops_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(samples: object) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr("era_cli.reports.fit.training_samples", broken)
    done = CliRunner().invoke(app, ["fit", *TINY, "--epochs=1", "--json", "--quiet"])
    document = json.loads(done.stdout)
    assert (done.exit_code, document["status"]) == (0, "finished")
    assert "Note: samples.png was not drawn (no font)" in done.stderr
    assert "runs/digits-1/curves.png" in document["files"]
    assert "runs/digits-1/samples.png" not in document["files"]
