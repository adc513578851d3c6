"""`era lr-find` as its users run it, and `era fit --max-lr auto`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from era_cli.cli import app
from era_cli.core.lr_find import sweep
from era_cli.core.training import trainer
from era_cli.runs import artifacts
from era_cli.runs.run import Run
from era_cli.signals import STOPPING
from tests.commands.test_fit import DIGITS
from tests.support import ERA, ESCAPE, environment, era

SWEEP = (*DIGITS, "--batch-size=16", "--limit-train=80", "--min-lr=1e-3", "--max-lr=0.2", "--steps=24")
SHORT = (*DIGITS, "--batch-size=4", "--limit-train=40", "--steps=3")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One plain sweep off a terminal, in an empty folder."""
    folder = tmp_path_factory.mktemp("empty")
    return era("lr-find", *SWEEP, cwd=folder, COLUMNS="60"), folder


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs era in this process and an empty folder; gives exit code, stdout and stderr."""
    handlers = {signum: signal.getsignal(signum) for signum in STOPPING}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            app(list(arguments), prog_name="era")
        assert isinstance(end.value.code, int)
        return end.value.code, *capsys.readouterr()

    yield run
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def test_a_sweep_names_its_two_files_and_writes_nothing_else(tour: Any) -> None:
    done, folder = tour
    assert done.returncode == 0, done.stderr
    assert files(folder) == {"runs/lr-find/digits-1.png", "runs/lr-find/digits-1.json"}
    assert done.stdout.splitlines()[-2:] == ["runs/lr-find/digits-1.png", "runs/lr-find/digits-1.json"]
    with Image.open(folder / "runs/lr-find/digits-1.png") as picture:
        assert picture.format == "PNG"


def test_the_recommended_rate_is_the_one_in_the_file(tour: Any) -> None:
    done, folder = tour
    document = json.loads((folder / "runs/lr-find/digits-1.json").read_text())
    said = f"--max-lr {document['recommended']['lr']:.3g} ({document['reason']})"
    assert said in " ".join(done.stdout.split())
    assert "0.001 to 0.2 in 24 steps" in done.stdout
    assert ESCAPE not in done.stdout + done.stderr
    assert all(len(line) <= 60 for line in done.stdout.splitlines())


def test_a_rate_of_the_document_can_be_found_in_the_sweep_that_stands_beside_it(tour: Any) -> None:
    _, folder = tour
    document = json.loads((folder / "runs/lr-find/digits-1.json").read_text())
    assert document["schema"] == 1
    assert document["rates"] == pytest.approx(np.geomspace(1e-3, 0.2, 24).tolist())
    (losses,) = document["losses"]
    assert len(losses) == len(document["smoothed"]) == document["steps"] == 24
    assert losses[0] == pytest.approx(np.log(10), rel=0.2)  # of ten classes the untrained network knows nothing
    assert document["recommended"]["lr"] in [suggestion["lr"] for suggestion in document["suggestions"]]
    assert (document["recipe"]["batch_size"], document["recipe"]["image_size"]) == (16, 8)
    assert document["data"]["source"] == "digits"
    assert len(document["data"]["content_hash"]) == 64


def test_too_few_steps_fail_with_one_sentence_after_the_files_were_written_and_numbered(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    for number in (1, 2):
        code, out, err = command("lr-find", *SHORT)
        errors = [line for line in err.splitlines() if line.startswith("Error: ")]
        assert code == 1
        assert errors == [err.splitlines()[-1]]
        assert "no rate can be suggested: 3 valid steps are too few" in errors[0]
        assert out.splitlines()[-2:] == [f"runs/lr-find/digits-{number}.{kind}" for kind in ("png", "json")]
    assert files(tmp_path) == {f"runs/lr-find/digits-{n}.{kind}" for n in (1, 2) for kind in ("png", "json")}


def test_json_holds_the_whole_sweep_and_out_names_the_figure(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, out, err = command("lr-find", *SHORT, "--seeds=2", "--seed=5", "--json", "--out=deep/x.svg")
    document = json.loads(out)
    assert code == 1
    assert "sweeping the learning rate: 6 steps" in err
    assert document == json.loads((tmp_path / "deep/x-sweep.json").read_text())
    assert document["files"] == ["deep/x.svg", "deep/x-sweep.json"]
    assert files(tmp_path) == set(document["files"])
    assert document["seeds"] == [5, 6]
    assert np.isfinite(document["losses"]).all()
    assert np.shape(document["losses"]) == (2, 3)
    assert document["rates"] == pytest.approx([1e-5, 1e-2, 10])
    assert (document["recommended"], document["suggestions"]) == (None, [])
    assert "too few" in document["reason"]
    assert ElementTree.parse(tmp_path / "deep/x.svg").getroot().tag.endswith("svg")


def test_a_loss_that_is_no_number_is_null_in_json(
    command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from era_cli.core.training.module import Classifier

    real = Classifier.training_step

    def poisoned(self: Classifier, batch: Any, batch_idx: int) -> Any:
        result = real(self, batch, batch_idx)
        return {**result, "loss": result["loss"] * float("nan")} if self.trainer.global_step == 1 else result

    monkeypatch.setattr(Classifier, "training_step", poisoned)
    code, out, _ = command("lr-find", *SHORT, "--json")
    document = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert code == 1
    assert document["losses"][0][1:] == document["smoothed"][1:] == [None, None]
    assert document["stops"] == ["the loss was NaN or infinite at a learning rate of 0.01"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--min-lr 0", "must lie in (0, 100]"),
        ("--min-lr -1", "must lie in (0, 100]"),
        ("--min-lr 1 --max-lr 1", "must lie in (0, 100], the first below the second"),
        ("--min-lr 1 --max-lr 0.1", "must lie in (0, 100], the first below the second"),
        ("--max-lr 1e7", "must lie in (0, 100], the first below the second"),
        ("--max-lr inf", "must lie in (0, 100], the first below the second"),
        ("--min-lr nan", "must lie in (0, 100], the first below the second"),
        ("--max-lr nan", "must lie in (0, 100], the first below the second"),
        ("--steps 1", "--steps"),
        ("--seeds 0", "--seeds"),
        ("--out x.txt", "must end in"),
        ("--max-lr auto", "--max-lr"),
        ("--seed 4294967295 --seeds 2", "seed"),
    ],
)
def test_wrong_ranges_are_refused_before_anything_is_done(
    arguments: str,
    says: str,
    command: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainer, "run", lambda *_, **__: pytest.fail("it began to train"))
    code, out, err = command("lr-find", *SHORT, *arguments.split())
    assert (code, out) == (2, "")
    assert says in err.splitlines()[-1]
    assert files(tmp_path) == set()


def test_fit_with_auto_records_what_it_chose_and_draws_the_sweep(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"low": 1e-3, "high": 0.2, "steps": 24, "seeds": 1}
    monkeypatch.setattr(sweep.sweep, "__kwdefaults__", options)
    code, out, err = command(
        "fit", *DIGITS, "--batch-size=16", "--limit-train=80", "--epochs=1", "--max-lr=auto", "--json"
    )
    assert code == 0, err
    document = json.loads(out)
    run = Run(tmp_path / document["run"])
    assert document["recipe"]["max_lr"] == document["lr_find"]["recommended"]["lr"] == max(s.lr for s in run.steps())
    assert f"--max-lr auto takes {document['recipe']['max_lr']:.3g}" in err
    assert str((run.path / artifacts.SWEEP).relative_to(tmp_path)) in document["files"]
    with Image.open(run.path / artifacts.SWEEP) as picture:
        assert picture.format == "PNG"
    assert {Path(name).parts[1] for name in files(tmp_path)} == {run.name}


@pytest.mark.parametrize("value", ["nonsense", "Auto", "", "0", "-1", "nan"])
def test_fit_refuses_a_rate_that_is_neither_a_number_nor_auto(
    value: str, command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, out, err = command("fit", *DIGITS, f"--max-lr={value}")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("Error: ")
    assert "max-lr" in line
    assert files(tmp_path) == set()


def test_ctrl_c_within_the_sweep_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*ERA, "lr-find", *DIGITS, "--steps=5000"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if "sweeping" in line:
                break
        os.kill(child.pid, signal.SIGINT)
        out, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert (out, errors) == ("", "Stopped by Ctrl-C.\n")
    assert files(tmp_path) == set()
