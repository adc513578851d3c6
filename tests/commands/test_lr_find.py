"""`era lr-find` as its users run it, and `era fit --max-lr auto`."""

from __future__ import annotations

import json
import shlex
import signal
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from era_cli.core.lr_find import sweep
from era_cli.core.training.module import Classifier
from era_cli.runs import artifacts
from era_cli.runs.document import SCHEMA
from era_cli.runs.run import Run
from tests.support import ESCAPE, TINY_OPTIONS, era, files, invoke, named_files, start, too_wide

DIGITS = (*TINY_OPTIONS, "--batch-size=16", "--limit-train=80")
SWEEP = (*DIGITS, "--min-lr=1e-3", "--max-lr=0.2", "--steps=24", "--strict", "--label-smoothing=0.123456789")
SHORT = (*TINY_OPTIONS, "--batch-size=4", "--limit-train=40", "--steps=3")


def test_a_sweep_writes_and_names_two_files(tmp_path: Path) -> None:
    done = era("lr-find", *SWEEP, cwd=tmp_path, COLUMNS="60")
    assert done.returncode == 0, done.stderr
    figure, sweep = "runs/lr-find/digits-1.png", "runs/lr-find/digits-1.json"
    assert files(tmp_path) == {figure, sweep}
    assert done.stdout.splitlines()[-3:-1] == [figure, "also in runs/lr-find: digits-1.json"]
    assert ESCAPE not in done.stdout + done.stderr
    assert too_wide(done.stdout) == []
    with Image.open(tmp_path / figure) as image:
        assert image.format == "PNG"
    document = json.loads((tmp_path / sweep).read_text())
    assert f"--max-lr {document['recommended']['lr']:.3g} ({document['reason']})" in " ".join(done.stdout.split())
    assert "0.001 to 0.2 in 24 steps" in done.stdout
    rate = f"{document['recommended']['lr']:.3g}"
    follows = "--batch-size 16 --label-smoothing 0.123456789 --precision fp32 --limit-train 80 --image-size 8"
    *_, then = done.stdout.splitlines()
    assert then == f"Next: era fit {follows} --max-lr {rate} --gpus 0 --data digits --strict"
    assert invoke("lr-find", *SWEEP, "--quiet").stdout == f"{rate}\n"
    assert document["recommended"]["lr"] in [suggestion["lr"] for suggestion in document["suggestions"]]
    assert document["rates"] == pytest.approx(np.geomspace(1e-3, 0.2, 24).tolist())
    (losses,) = document["losses"]
    assert len(losses) == len(document["smoothed"]) == document["steps"] == 24
    assert losses[0] == pytest.approx(np.log(10), rel=0.2)  # an untrained network guesses among ten classes
    assert (document["schema"], document["recipe"]["batch_size"], document["recipe"]["image_size"]) == (SCHEMA, 16, 8)
    assert (document["data"]["source"], len(document["data"]["content_hash"])) == ("digits", 64)
    *_, then = invoke(*shlex.split(then)[2:], "--epochs=1").stdout.splitlines()
    recipe = Run(tmp_path / "runs" / "digits-1").read().recipe
    assert (recipe.max_lr, recipe.label_smoothing) == (float(rate), 0.123456789)
    assert then == "Next: era eval"
    invoke(*shlex.split(then)[2:])


def test_too_few_steps_fail_after_the_files(tmp_path: Path) -> None:
    for number in (1, 2):
        done = invoke("lr-find", *SHORT, code=1)
        assert "no learning rate can be suggested: 3 valid steps are too few" in done.stderr.splitlines()[-1]
        assert done.stderr.count("Error: ") == 1
        assert named_files(done.stdout) == [f"runs/lr-find/digits-{number}.{kind}" for kind in ("png", "json")]
        assert "Next: " not in done.stdout
    assert len(files(tmp_path)) == 4


def test_json_holds_the_whole_sweep(tmp_path: Path) -> None:
    done = invoke("lr-find", *SHORT, "--seeds=2", "--seed=5", "--json", "--out=deep/x.svg", code=1)
    document = json.loads(done.stdout)
    assert "sweeping the learning rate: 6 steps" in done.stderr
    assert document == json.loads((tmp_path / "deep/x-sweep.json").read_text())
    assert document["files"] == ["deep/x.svg", "deep/x-sweep.json"]
    assert files(tmp_path) == set(document["files"])
    assert document["seeds"] == [5, 6]
    assert np.isfinite(document["losses"]).all()
    assert np.shape(document["losses"]) == (2, 3)
    assert document["rates"] == pytest.approx([1e-5, 1e-2, 10])
    assert (document["recommended"], document["suggestions"]) == (None, [])
    assert ElementTree.parse(tmp_path / "deep/x.svg").getroot().tag.endswith("svg")


def test_a_nan_loss_is_null_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Classifier.training_step

    def poisoned(self: Classifier, batch: Any, batch_idx: int) -> Any:
        result = real(self, batch, batch_idx)
        return {**result, "loss": result["loss"] * float("nan")} if self.trainer.global_step == 1 else result

    monkeypatch.setattr(Classifier, "training_step", poisoned)
    done = invoke("lr-find", *SHORT, "--json", code=1)
    document = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["losses"][0][1:] == document["smoothed"][1:] == [None, None]
    assert document["stops"] == ["the loss was NaN or infinite at a learning rate of 0.01"]


def test_fit_with_auto_records_and_draws_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"low": 1e-3, "high": 0.2, "steps": 24, "seeds": 1}
    monkeypatch.setattr(sweep.sweep, "__kwdefaults__", options)
    done = invoke("fit", *DIGITS, "--epochs=1", "--max-lr=auto", "--json")
    document = json.loads(done.stdout)
    run = Run(tmp_path / document["run"])
    assert document["recipe"]["max_lr"] == document["lr_find"]["recommended"]["lr"] == max(s.lr for s in run.steps())
    assert f"--max-lr auto chose {document['recipe']['max_lr']:.3g}" in done.stderr
    assert str((run.path / artifacts.SWEEP).relative_to(tmp_path)) in document["files"]
    with Image.open(run.path / artifacts.SWEEP) as image:
        assert image.format == "PNG"
    assert {Path(name).parts[1] for name in files(tmp_path)} == {run.name}


def test_ctrl_c_ends_the_sweep_and_leaves_nothing(tmp_path: Path) -> None:
    with start(tmp_path, "lr-find", *TINY_OPTIONS, "--steps=5000") as child:
        assert child.stderr is not None
        for line in child.stderr:
            if "sweeping" in line:
                break
        child.send_signal(signal.SIGINT)
        out, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert (out, errors) == ("", "Stopped by Ctrl-C.\n")
    assert files(tmp_path) == set()
