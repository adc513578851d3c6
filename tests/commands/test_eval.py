"""`era eval` on real runs: in this process where that is enough, in its own where pipes matter."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from era_cli.cli import app
from era_cli.core.data import digits
from era_cli.core.evaluation import inference, trained_run
from era_cli.core.fit import start
from era_cli.listener import Listener
from era_cli.runs.document import SCHEMA
from era_cli.runs.run import Run
from tests.support import ESCAPE, copied, era, request, the_error

ODD = (r"$\frac{$", "[bold]dog[", "\"quoted' `name`", "x" * 60, "猫と犬", f"{ESCAPE}[31mred", "%s {0} \\n", "école")


pytestmark = pytest.mark.usefixtures("own_place")


def evaluate(*arguments: str, code: int = 0, **environment: str) -> Result:
    result = CliRunner().invoke(app, ["eval", "--gpus=0", *arguments], env=environment)
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.stderr
    return result


def document(*arguments: str) -> Any:
    return json.loads(evaluate(*arguments, "--json").stdout)


# A digits run


def test_the_table_is_on_stdout_and_every_file_is_written_and_named(run: Run) -> None:
    for name in ("predictions-test.npz", "confusion.png", "reliability.png", "eval-test.json"):
        (run.path / name).unlink(missing_ok=True)
    before = {artifact.path for artifact in run.contents()}
    done = evaluate()
    result = run.read().as_dict()["result"]
    assert f"{result['test_acc']:.2%} ({result['test_correct']} of 359)" in done.stdout
    for digit in range(10):
        assert re.search(rf"^\s*{digit}\s+(\d|-)", done.stdout, re.MULTILINE)
    made = {path.name for path in {artifact.path for artifact in run.contents()} - before}
    assert made == {"predictions-test.npz", "confusion.png", "reliability.png", "eval-test.json"}
    assert {f"runs/mine/{name}" for name in made} == {
        line for line in done.stdout.splitlines() if line.startswith("runs/")
    }
    assert done.stderr.splitlines() == ["evaluating: 359 images"]
    for name in ("confusion.png", "reliability.png"):
        with Image.open(run.path / name) as picture:
            picture.load()
    assert ESCAPE not in done.output


def test_fit_and_eval_agree_to_the_last_digit_with_and_without_the_stored_predictions(run: Run) -> None:
    result = run.read().as_dict()["result"]
    for kept, computed in ((True, "before, in predictions-test.npz"), (False, r"now, [\d,]+ images/s")):
        if not kept:
            (run.path / "predictions-test.npz").unlink()
        assert re.search(rf"computed\s+{computed}", evaluate().stdout)
        judged = json.loads((run.path / "eval-test.json").read_text(encoding="utf-8"))["result"]
        assert (judged["accuracy"], judged["loss"]) == (result["test_acc"], result["test_loss"])
        assert (judged["correct"], judged["count"]) == (result["test_correct"], result["test_count"])


def test_json_is_one_document_on_stdout_and_the_same_in_its_file(run: Run) -> None:
    done = evaluate("--json")
    told = json.loads(done.stdout)
    assert told == json.loads((run.path / "eval-test.json").read_text(encoding="utf-8"))
    assert (told["schema"], told["run"], told["tta"]) == (SCHEMA, "runs/mine", "none")
    assert told["epochs"] == run.read().as_dict()["result"]["best_epoch"]
    assert all(Path(file).is_file() for file in told["files"])
    confusion = np.array(told["result"]["confusion"])
    dataset = digits.load(8)
    assert confusion.sum(axis=1).tolist() == np.bincount(dataset.labels[dataset.test]).tolist()
    assert confusion.trace() == told["result"]["correct"]


@pytest.mark.parametrize("split", ["val", "train"])
def test_the_other_splits_can_be_judged_under_their_own_names(run: Run, split: str) -> None:
    told = document("--split", split)
    data = run.read().as_dict()["data"]
    assert told["result"]["count"] == data["counts"][split]
    assert [score["support"] for score in told["result"]["per_class"]] == list(data["class_counts"][split])
    names = {Path(file).name for file in told["files"]}
    assert names == {
        f"eval-{split}.json", f"confusion-{split}.png", f"reliability-{split}.png", f"predictions-{split}.npz"
    }  # fmt: skip
    assert all(Path(file).is_file() for file in told["files"])


def test_augmentation_of_a_run_without_mirrored_images_comes_with_a_note(run: Run) -> None:
    done = evaluate("--tta", "flip", "--split", "val")
    assert "Note: The run was trained without mirror images" in done.stderr
    assert (run.path / "predictions-val-flip.npz").is_file()
    assert "flip" in done.stdout


def digit_folder(root: Path, counts: dict[str, int]) -> Path:
    dataset = digits.load(8)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for place in np.flatnonzero(dataset.labels == int(name))[:count]:
            Image.fromarray(dataset.images[place].transpose(1, 2, 0)).save(root / name / f"{place}.png")
    return root


def test_another_folder_with_the_runs_classes_is_judged_whole(run: Run, tmp_path: Path) -> None:
    digit_folder(tmp_path / "scans", {"3": 7, "8": 4})
    told = document("--data", "scans")
    assert told["result"]["count"] == 11
    supports = {score["name"]: score["support"] for score in told["result"]["per_class"]}
    assert supports == {**{str(digit): 0 for digit in range(10)}, "3": 7, "8": 4}
    assert told["data"]["source"] == str(tmp_path / "scans")
    assert len(list(run.path.glob("eval-data-scans-??????.json"))) == 1
    assert len(list(run.path.glob("predictions-data-scans-??????.npz"))) == 1
    # The same pixels by hand.
    opened = trained_run.TrainedRun.open(run, None, torch.device("cpu"))
    dataset = digits.load(8)
    places = np.concatenate([np.flatnonzero(dataset.labels == digit)[:count] for digit, count in ((3, 7), (8, 4))])
    evaluation = inference.evaluate(opened.classifier, dataset, places, Listener(), what="")
    assert told["result"]["loss"] == pytest.approx(evaluation.loss, abs=1e-4)
    (tmp_path / "scans" / "ten").mkdir()
    assert "'ten'" in the_error(evaluate("--data", "scans", code=1))


@pytest.mark.parametrize("suffix", ["svg", "PDF"])
def test_out_names_the_figures_and_chooses_their_format(run: Run, tmp_path: Path, suffix: str) -> None:
    before = set(run.path.glob("*.png"))
    done = evaluate("--out", f"new/x.{suffix}")
    start = {"svg": b"<?xml", "PDF": b"%PDF"}[suffix]
    for name in (f"new/x.{suffix}", f"new/x-reliability.{suffix}"):
        assert (tmp_path / name).read_bytes().startswith(start)
        assert name in done.stdout.splitlines()
    assert set(run.path.glob("*.png")) == before


def test_in_60_columns_no_line_but_a_path_is_wider(run: Run) -> None:
    done = evaluate(COLUMNS="60")
    assert [line for line in done.stdout.splitlines() if cell_len(line) > 60 and not line.startswith("runs/")] == []


def test_quiet_leaves_stderr_empty(run: Run) -> None:
    done = evaluate("--quiet", "--split", "val")
    assert done.stderr == ""
    assert "accuracy" in done.stdout


def test_in_a_pipe_the_document_is_whole_and_another_process_finds_the_same(run: Run, tmp_path: Path) -> None:
    (run.path / "predictions-test.npz").unlink()
    threads = str(torch.get_num_threads())
    done = era("eval", "--gpus=0", "--json", cwd=tmp_path, PYTHONIOENCODING="ascii", OMP_NUM_THREADS=threads)
    assert done.returncode == 0, done.stderr
    told, result = json.loads(done.stdout)["result"], run.read().as_dict()["result"]
    assert (told["accuracy"], told["loss"]) == (result["test_acc"], result["test_loss"])
    assert done.stderr.splitlines() == ["evaluating: 359 images"]


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--out x.jpeg", ".png, .svg or .pdf"),
        ("--out x", ".png, .svg or .pdf"),
        ("--split test --data digits", "--split"),
        ("--split all", "--split"),
        ("--tta mirror", "--tta"),
        ("--gpus many", "--gpus"),
        ("--data nowhere", "'nowhere'"),
    ],
)
def test_wrong_usage_ends_with_2_and_leaves_nothing(run: Run, arguments: str, says: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert says in the_error(evaluate(*arguments.split(), code=2))
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_run_it_says_how_to_get_one() -> None:
    assert "era fit" in the_error(evaluate(code=1))


def test_an_unfinished_run_is_refused_until_a_checkpoint_is_named(run: Run) -> None:
    run.update(status="interrupted")
    assert "--checkpoint best or last" in the_error(evaluate(code=1))
    told = evaluate("--checkpoint", "best", "--split", "val").stdout
    assert f"best, after {run.read().as_dict()['result']['best_epoch']} epochs" in told


# Odd class names


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on class folders that are called as no one should call them."""
    base = tmp_path_factory.mktemp("odd")
    draw = np.random.default_rng(0)
    for name in ODD:
        (base / "images" / name).mkdir(parents=True)
        for place in range(6):
            Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(base / "images" / name / f"{place}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(base / "cache"))
        asked = request(base / "runs", source=str(base / "images"), epochs=2, batch_size=8, limit_train=None)
        fit = start.prepare(asked, Listener())
        fit.train(Listener())
    return fit.run.path


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_odd_class_names_go_through_the_whole_command(odd_run: Path, tmp_path: Path, suffix: str) -> None:
    run = copied(odd_run, tmp_path / "runs" / "odd")
    done = evaluate("--out", f"x.{suffix}", COLUMNS="100")
    assert ESCAPE not in done.output
    for name in ("$\\frac{$", "[bold]dog[", "\"quoted' `name`", "猫と犬", "\ufffd[31mred", "%s {0} \\n", "école"):
        assert name in done.stdout
    assert max(cell_len(line) for line in done.stdout.splitlines() if not line.startswith(("runs/", "x"))) <= 100
    told = json.loads((run.path / "eval-test.json").read_text(encoding="utf-8"))
    assert set(told["result"]["classes"]) == set(ODD)
    assert told["result"]["count"] == run.read().as_dict()["data"]["counts"]["test"]
    assert (tmp_path / f"x-reliability.{suffix}").stat().st_size > 0
