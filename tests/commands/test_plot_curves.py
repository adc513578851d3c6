"""`era plot-curves` as its users run it, on run folders written by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from era_cli.commands.fit import _draw_curves
from era_cli.console.fit import FitProgress
from era_cli.runs import artifacts
from era_cli.runs.run import Run
from tests.support import ERA, ESCAPE, environment, era
from tests.test_imports import _ASK, HEAVY

PNG = b"\x89PNG\r\n\x1a\n"
HEADER = "epoch,train_loss,train_acc,val_loss,val_acc,lr,seconds,images_per_second\n"


def write_run(folder: Path, name: str, epochs: int, **changes: Any) -> Path:
    """A run of 24 epochs of 5 steps that was stopped after `epochs`; the second is its best."""
    path = folder / "runs" / name
    path.mkdir(parents=True)
    document = {
        "schema": 1,
        "name": name,
        "status": "interrupted",
        "started": "2026-01-01T00:00:00+00:00",
        "recipe": {"epochs": 24, "batch_size": 32},
        "data": {"counts": {"train": 160, "val": 1_000}},
        "result": None,
    }
    (path / "run.json").write_text(json.dumps({**document, **changes}))
    if epochs:
        rows = [f"{n},2.5,0.25,{2.0 / n},{0.75 if n == 2 else 0.5},0.1,12.5,4000.0\n" for n in range(1, epochs + 1)]
        (path / "metrics.csv").write_text(HEADER + "".join(rows))
        steps = [f"{n},{n / 100},2.5\n" for n in range(1, 5 * epochs + 1)]
        (path / "steps.csv").write_text("step,lr,loss\n" + "".join(steps))
    return path


def test_the_figure_of_the_latest_run_is_written_and_named_in_60_columns(tmp_path: Path) -> None:
    write_run(tmp_path, "old", 2)
    path = write_run(tmp_path, "new-" + "x" * 80, 3, started="2026-01-02T00:00:00+00:00")
    done = era("plot-curves", cwd=tmp_path, COLUMNS="60")
    assert (done.returncode, done.stderr) == (0, "")
    *table, last = done.stdout.splitlines()
    assert last == str((path / "curves.png").relative_to(tmp_path))
    assert (path / "curves.png").read_bytes().startswith(PNG)
    assert all(cell_len(line) <= 60 for line in table)
    assert "interrupted" in done.stdout
    assert "3/24" in done.stdout
    assert "75.00%" in done.stdout
    assert ESCAPE not in done.stdout
    assert not (tmp_path / "runs" / "old" / "curves.png").exists()


def test_several_runs_are_laid_over_each_other_and_json_tells_all(tmp_path: Path) -> None:
    write_run(tmp_path, "a", 3)
    write_run(tmp_path, "b", 1, status="finished", result={"test_acc": 0.5})
    out = "new/folder/both.SVG"
    done = era(
        "plot-curves", "--run=a", "--run=runs/b", "--run=a", "--baseline=0.9311", f"--out={out}", "--json", cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert (document["schema"], document["baseline"], document["files"]) == (1, 0.9311, [out])
    a, b = document["runs"]
    assert (a["run"], a["name"], a["status"], a["planned_epochs"], a["steps"]) == ("runs/a", "a", "interrupted", 24, 15)
    assert (a["best"]["epoch"], a["best"]["val_acc"], a["test_acc"]) == (2, 0.75, None)
    assert [row["epoch"] for row in a["epochs"]] == [1, 2, 3]
    assert (b["name"], b["status"], b["test_acc"], len(b["epochs"])) == ("b", "finished", 0.5, 1)
    drawn = (tmp_path / out).read_text()
    assert "<svg" in drawn
    assert "2 runs" in drawn  # matplotlib writes each text as a comment beside its outlines
    assert "baseline 93.11%" in drawn
    assert not (tmp_path / "runs" / "curves.png").exists()


def test_without_out_several_runs_go_into_the_folder_of_the_runs(tmp_path: Path) -> None:
    write_run(tmp_path, "a", 1)
    write_run(tmp_path, "b", 0)  # has no epoch yet, which the other makes up for
    done = era("plot-curves", "--run=a", "--run=b", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "runs/curves.png\n")
    assert (tmp_path / "runs" / "curves.png").read_bytes().startswith(PNG)


def test_damaged_lines_are_named_the_rest_is_drawn_and_torch_is_not_loaded(tmp_path: Path) -> None:
    path = write_run(tmp_path, "a", 4)
    metrics, steps = path / "metrics.csv", path / "steps.csv"
    metrics.write_text(metrics.read_text().replace("\n3,2.5", "\n3,?")[:-4])
    steps.write_text(steps.read_text() + "21,0.")
    before = {file: file.read_bytes() for file in (metrics, steps)}
    done = subprocess.run(
        [sys.executable, "-c", _ASK, "plot-curves", "--out=a.pdf", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    document, _, answer = done.stdout.rpartition("{")
    told = json.loads("{" + answer)
    assert told["code"] == 0
    assert set(told["loaded"]) & (HEAVY - {"matplotlib"}) == set()
    assert "matplotlib" in told["loaded"]
    (one,) = json.loads(document)["runs"]
    assert [row["epoch"] for row in one["epochs"]] == [1, 2]
    assert one["steps"] == 20
    notes = done.stderr.splitlines()
    assert len(notes) == len(one["left_out"]) == 3
    for note, line in zip(
        notes,
        ("line 4 of runs/a/metrics.csv", "line 5 of runs/a/metrics.csv", "line 22 of runs/a/steps.csv"),
        strict=True,
    ):
        assert line in note
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert {file: file.read_bytes() for file in (metrics, steps)} == before


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--run=empty"], 1, "no epoch to draw in runs/empty"),
        (["--run=nobody"], 1, "no run 'nobody'"),
        (["--runs-dir=elsewhere"], 1, "no run under elsewhere"),
        (["--run=empty", "--out=curves.gif"], 2, ".png, .svg or .pdf"),
        (["--baseline=93.11"], 2, "baseline"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(arguments: list[str], code: int, says: str, tmp_path: Path) -> None:
    path = write_run(tmp_path, "empty", 0)
    done = era("plot-curves", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("Error: ")
    assert says in sentence
    assert [file.name for file in path.iterdir()] == ["run.json"]


def test_fit_draws_the_curves_and_that_they_cannot_be_written_does_not_fail_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(write_run(tmp_path, "a", 2))
    _draw_curves(run, FitProgress(None))
    assert run.path / artifacts.CURVES.read_bytes().startswith(PNG)
    assert capsys.readouterr().err == ""
    run.path / artifacts.CURVES.unlink()
    run.path / artifacts.CURVES.mkdir()
    _draw_curves(run, FitProgress(None))
    note = capsys.readouterr().err
    assert note.startswith("Note: The curves were not drawn (")
    assert str(run.path / artifacts.CURVES) in note


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_full_disk_under_stdout_is_an_error(arguments: list[str], tmp_path: Path) -> None:
    write_run(tmp_path, "a", 2)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*ERA, "plot-curves", *arguments],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=60,
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert (tmp_path / "runs/a/curves.png").is_file()
