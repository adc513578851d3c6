"""`era plot-curves` as its users run it, on runs that were never trained."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from era_cli.commands.fit import _draw_curves
from era_cli.console.fit import FitProgress
from era_cli.runs import artifacts, history
from era_cli.runs.document import SCHEMA
from tests.support import ERA, ESCAPE, RESULT, curve_run, environment, epoch_row, files, invoke, the_error, too_wide

PNG = b"\x89PNG\r\n\x1a\n"
RUNS = Path("runs")


def test_the_latest_run_is_drawn_and_named() -> None:
    curve_run(RUNS, 2, "old")
    path = curve_run(RUNS, 3, "new-" + "x" * 80, started="2026-01-02T00:00:00+00:00", status="interrupted").path
    done = invoke("plot-curves", COLUMNS="60")
    assert done.stderr == ""
    assert done.stdout.splitlines()[-2:] == [str(path / "curves.png"), f"Next: era fit --resume {path.name}"]
    assert (path / "curves.png").read_bytes().startswith(PNG)
    assert too_wide(done.stdout) == []
    for text in ("interrupted", "3/24", "75.00%"):
        assert text in done.stdout
    assert ESCAPE not in done.stdout
    assert not (RUNS / "old" / "curves.png").exists()


def test_several_runs_are_overlaid(tmp_path: Path) -> None:
    curve_run(RUNS, 3, "a")
    curve_run(RUNS, 2, "b", status="finished", result=RESULT)
    curve_run(RUNS, 0, "c")  # has no epoch yet, which the others make up for
    out = "new/folder/both.SVG"
    runs = ("--run=a", "--run=runs/b", "--run=a")
    document = json.loads(invoke("plot-curves", *runs, "--baseline=0.9311", f"--out={out}", "--json").stdout)
    assert (document["schema"], document["baseline"], document["files"]) == (SCHEMA, 0.9311, [out])
    a, b = document["runs"]
    assert (a["run"], a["name"], a["status"], a["planned_epochs"], a["steps"]) == ("runs/a", "a", "running", 24, 17)
    assert (a["best"]["epoch"], a["best"]["val_acc"], a["test_acc"]) == (2, 0.75, None)
    assert [row["epoch"] for row in a["metrics"]] == [1, 2, 3]
    assert (b["name"], b["status"], b["test_acc"], len(b["metrics"])) == ("b", "finished", 0.875, 2)
    drawn = (tmp_path / out).read_text()
    for text in (
        "<svg",
        "a and b: highest validation accuracy 75.00%",
        "baseline 93.11%",
    ):  # matplotlib writes each text as a comment beside its outlines
        assert text in drawn
    done = invoke("plot-curves", "--run=a", "--run=runs/b")
    assert done.stdout.splitlines()[-2:] == ["runs/curves.png", "Next: era eval --run b"]
    quiet = invoke("plot-curves", "--run=a", "--run=c", "--quiet").stdout
    assert quiet == "2 runs, best a: 3/24 epochs, best epoch 2, validation 75.00%\n"
    assert (tmp_path / "runs" / "curves.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("option", "then"),
    [
        ("--run=sweep-*", "--run sweep-1"),
        ("--run=sweep-1", "--run sweep-1"),
        ("--run=runs/sweep-*", "--run sweep-1"),
        ("--run=elsewhere/b*", "--run elsewhere/b"),
        ("--runs-dir=elsewhere", "--runs-dir elsewhere"),
        ("--runs-dir=elsewhere --run=b", "--run b --runs-dir elsewhere"),
        ("--runs-dir=elsewhere --run=*", "--run b --runs-dir elsewhere"),
    ],
)
def test_the_next_command_names_the_run_of_a_pattern(option: str, then: str) -> None:
    for runs_dir, name in ((RUNS, "sweep-1"), (Path("elsewhere"), "b")):
        curve_run(runs_dir, 2, name, status="finished", result=RESULT)
    assert invoke("plot-curves", *option.split()).stdout.splitlines()[-1] == f"Next: era eval {then}"


def test_the_next_run_is_chosen_by_validation_accuracy() -> None:
    for name, test_acc in (("a", 0.8), ("b", 0.9), ("c", 0.9)):
        run = curve_run(RUNS, 2, name, status="finished", result=replace(RESULT, test_acc=test_acc))
        if name != "a":
            history.restore(run.metrics_file, [epoch_row(1), epoch_row(2, val_acc=0.7)])
    done = invoke("plot-curves", "--run=*")
    assert done.stdout.splitlines()[-1] == "Next: era eval --run a"


def test_two_finished_runs_on_the_same_data_are_to_be_compared() -> None:
    for name in ("a", "b"):
        run = curve_run(RUNS, 2, name, status="finished", result=RESULT)
    assert invoke("plot-curves", "--run=*").stdout.splitlines()[-1] == "Next: era compare a b"
    run.update(data=replace(run.read().data, content_hash="1" * 64))
    assert invoke("plot-curves", "--run=*").stdout.splitlines()[-1] == "Next: era eval --run a"
    assert ", best a: " in invoke("plot-curves", "--run=*", "--quiet").stdout


LOADED = """
import sys
from era_cli.cli import app
try:
    app(sys.argv[1:], prog_name="era")
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


def test_damaged_lines_are_left_out_without_loading_torch(tmp_path: Path) -> None:
    run = curve_run(RUNS, 4, "a")
    metrics, steps = run.metrics_file, run.steps_file
    metrics.write_text(metrics.read_text().replace("\n3,2.5", "\n3,?")[:-4])
    steps.write_text(steps.read_text() + "23,0.")
    before = {file: file.read_bytes() for file in (metrics, steps)}
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "plot-curves", "--out=a.pdf", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    *notes, loaded = done.stderr.splitlines()
    assert done.returncode == 0
    assert "matplotlib" in loaded.split()
    assert not {"torch", "lightning", "sklearn", "scipy"} & set(loaded.split())
    (one,) = json.loads(done.stdout)["runs"]
    assert ([row["epoch"] for row in one["metrics"]], one["steps"]) == ([1, 2], 22)
    assert len(notes) == len(one["left_out"]) == 3
    lines = ("line 4 of runs/a/metrics.csv", "line 5 of runs/a/metrics.csv", "line 24 of runs/a/steps.csv")
    for note, line in zip(notes, lines, strict=True):
        assert line in note
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert {file: file.read_bytes() for file in (metrics, steps)} == before


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--run=empty", "no epoch to draw in runs/empty"),
        ("--run=nobody", "no run 'nobody'"),
        ("--runs-dir=elsewhere", "no run under elsewhere"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(option: str, says: str) -> None:
    path = curve_run(RUNS, 0, "empty").path
    assert says in the_error(invoke("plot-curves", option, code=1))
    assert files(path) == {"run.json"}


def test_curves_that_cannot_be_written_fail_no_fit(capsys: pytest.CaptureFixture[str]) -> None:
    run = curve_run(RUNS, 2, "a")
    _draw_curves(run, FitProgress(None))
    assert (run.path / artifacts.CURVES).read_bytes().startswith(PNG)
    assert capsys.readouterr().err == ""
    (run.path / artifacts.CURVES).unlink()
    (run.path / artifacts.CURVES).mkdir()
    _draw_curves(run, FitProgress(None))
    note = capsys.readouterr().err
    assert note.startswith("Warning: The curves were not drawn (")
    assert str(run.path / artifacts.CURVES) in note


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_full_disk_under_stdout_is_an_error(arguments: list[str], tmp_path: Path) -> None:
    curve_run(RUNS, 2, "a")
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
