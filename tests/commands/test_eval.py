"""`era eval` on real runs; what all commands have in common is in test_common."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from era_cli.core.data import digits
from era_cli.core.evaluation import inference, trained_run
from era_cli.listener import Listener
from era_cli.runs import artifacts
from era_cli.runs.document import SCHEMA
from era_cli.runs.run import Run
from tests.support import ESCAPE, as_json, digit_folder, era, files, invoke, named_files, the_error


def test_the_table_and_every_file(run: Run) -> None:
    (run.path / "predictions-test.npz").unlink()
    before = files(run.path)
    done = invoke("eval")
    result = run.read().as_dict()["result"]
    assert f"{result['test_acc']:.2%} ({result['test_correct']} of 359)" in done.stdout
    for digit in range(10):
        assert re.search(rf"^\s*{digit}\s+(\d|-)", done.stdout, re.MULTILINE)
    new = files(run.path) - before
    assert new == {"predictions-test.npz", "confusion.png", "reliability.png", "eval-test.json"}
    assert {f"runs/mine/{name}" for name in new} == set(named_files(done.stdout))
    assert done.stderr.splitlines() == ["evaluating: 359 images"]
    for name in ("confusion.png", "reliability.png"):
        with Image.open(run.path / name) as image:
            image.load()
    assert ESCAPE not in done.output


def test_fit_and_eval_agree_exactly_and_predictions_are_cached(run: Run) -> None:
    result = run.read().as_dict()["result"]
    for computed in ("cached in predictions-test.npz", r"now, [\d,]+ images/s"):
        if computed.startswith("now"):
            (run.path / "predictions-test.npz").unlink()
        assert re.search(rf"computed\s+{computed}", invoke("eval").stdout)
        told = json.loads((run.path / "eval-test.json").read_text(encoding="utf-8"))["result"]
        assert (told["acc"], told["loss"]) == (result["test_acc"], result["test_loss"])
        assert (told["correct"], told["count"]) == (result["test_correct"], result["test_count"])


def test_a_process_prints_one_document_also_kept_as_file(run: Run, tmp_path: Path) -> None:
    (run.path / "predictions-test.npz").unlink()
    done = era("eval", "--gpus=0", "--json", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["evaluating: 359 images"]
    told, result = json.loads(done.stdout), run.read().as_dict()["result"]
    assert told == json.loads((run.path / "eval-test.json").read_text(encoding="utf-8"))
    assert (told["schema"], told["run"], told["tta"]) == (SCHEMA, "runs/mine", "none")
    assert re.search(rf'"epochs": {result["best_epoch"]},', done.stdout)  # and not 3.0
    assert (told["result"]["acc"], told["result"]["loss"]) == (result["test_acc"], result["test_loss"])
    assert all((tmp_path / file).is_file() for file in told["files"])
    confusion, dataset = np.array(told["result"]["confusion"]), digits.load(8)
    assert confusion.sum(axis=1).tolist() == np.bincount(dataset.labels[dataset.test]).tolist()
    assert confusion.trace() == told["result"]["correct"]


@pytest.mark.parametrize("split", ["val", "train"])
def test_other_splits_have_files_of_their_own(run: Run, split: str) -> None:
    told = as_json("eval", "--split", split)
    data = run.read().as_dict()["data"]
    assert told["result"]["count"] == data["counts"][split]
    assert [score["support"] for score in told["result"]["per_class"]] == list(data["class_counts"][split])
    names = {Path(file).name for file in told["files"]}
    assert names == {
        f"eval-{split}.json", f"confusion-{split}.png", f"reliability-{split}.png", f"predictions-{split}.npz"
    }  # fmt: skip
    assert all(Path(file).is_file() for file in told["files"])


def test_flipping_a_run_trained_unmirrored_is_noted(run: Run) -> None:
    done = invoke("eval", "--tta=flip", "--split=val")
    assert "Note: The run was trained without mirror images" in done.stderr
    assert (run.path / "predictions-val-flip.npz").is_file()
    assert "flip" in done.stdout


def test_another_folder_of_the_classes_is_evaluated_whole(run: Run, tmp_path: Path) -> None:
    digit_folder(tmp_path / "scans", {"3": 7, "8": 4})
    told = as_json("eval", "--data", "scans")
    assert told["result"]["count"] == 11
    supports = {score["class"]: score["support"] for score in told["result"]["per_class"]}
    assert supports == {**{str(digit): 0 for digit in range(10)}, "3": 7, "8": 4}
    assert told["data"]["source"] == str(tmp_path / "scans")
    assert len(list(run.path.glob("eval-data-scans-??????.json"))) == 1
    assert len(list(run.path.glob("predictions-data-scans-??????.npz"))) == 1
    # The same pixels by hand.
    opened = trained_run.TrainedRun(run, run.checkpoints / artifacts.BEST, torch.device("cpu"))
    dataset = digits.load(8)
    places = np.concatenate([np.flatnonzero(dataset.labels == digit)[:count] for digit, count in ((3, 7), (8, 4))])
    evaluation = inference.evaluate(opened.classifier, dataset, places, Listener(), what="")
    assert told["result"]["loss"] == pytest.approx(evaluation.loss, abs=1e-4)
    (tmp_path / "scans" / "ten").mkdir()
    assert "'ten'" in the_error(invoke("eval", "--data", "scans", code=1))


def test_a_limit_on_testing_is_that_of_every_command(run: Run) -> None:
    run.update(recipe=dataclasses.replace(run.read().recipe, limit_test=60))
    assert "60 of 359 test images" in invoke("eval").stdout
    counts = [as_json("eval")["result"]["count"], as_json("misclassified")["result"]["evaluated"]]
    assert counts == [60, 60]
    assert "60 of 359 test images" in invoke("gradcam", "--n=1", "--layer=layer1").stdout
    told = as_json("eval", "--split=test-all")
    assert told["result"]["correct"] == run.read().as_dict()["result"]["test_correct"]
    assert "eval-test-all.json" in {Path(file).name for file in told["files"]}
