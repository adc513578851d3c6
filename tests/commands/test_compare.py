"""`era compare` on real runs; its statistics are tested in core."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from matplotlib.figure import Figure
from scipy import stats

from era_cli.core.evaluation import predictions
from era_cli.core.evaluation.trained_run import TrainedRun
from era_cli.listener import Listener
from era_cli.runs.run import Run
from tests.support import ESCAPE, as_json, copied, files, invoke, named_files, the_error, too_wide


def right(run: Run) -> npt.NDArray[np.bool_]:
    """Which images the run classifies correctly, by its cached predictions."""
    with np.load(run.path / "predictions-test.npz") as arrays:
        return arrays["logits"].argmax(axis=1) == arrays["true"]


def seeded(light: Path, path: Path, seed: int, flipped: int) -> None:
    """A copy of the run that counts as one of another seed: its predictions are upside down for `flipped` images."""
    run = copied(light, path)
    run.update(seed=seed, recipe=dataclasses.replace(run.read().recipe, seed=seed))
    opened = TrainedRun(run, run.checkpoint_file(None), torch.device("cpu"))
    cached = predictions.load(opened, opened.subset("test", None, Listener()), "none")
    assert cached is not None
    logits = cached.evaluation.logits.copy()
    logits[:flipped] *= -1
    evaluation = dataclasses.replace(cached.evaluation, logits=logits)
    predictions._write(dataclasses.replace(cached, evaluation=evaluation))


def test_a_pair_is_told_apart_and_its_flips_are_written_beside_b(run: Run, other: Run) -> None:
    before = files(run.path.parent)
    done = invoke("compare", "other", "mine")
    assert files(run.path.parent) - before == {"mine/compare-with-other.png", "mine/compare-with-other.csv"}
    assert named_files(done.stdout)[:2] == ["runs/mine/compare-with-other.png", "runs/mine/compare-with-other.csv"]
    a, b = right(other), right(run)
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    assert f"{only_a} in A alone, {only_b} in B alone" in done.stdout
    claim = f"B (mine) is better than A (other) by {100 * (b.mean() - a.mean()):.2f} points on 359 images"
    assert claim in done.stdout
    assert invoke("compare", "other", "mine", "--quiet").stdout.startswith(claim)
    assert "epochs" in done.stdout  # the setting that differs
    assert done.stderr == ""
    assert ESCAPE not in done.output


def test_json_and_table_hold_every_flip(run: Run, other: Run) -> None:
    told = as_json("compare", "mine", "other", "-n", "1")
    result = told["result"]
    a, b = right(run), right(other)
    assert result["difference"] == pytest.approx(b.mean() - a.mean())
    assert result["paired"] == {
        "both": (a & b).sum(),
        "only_a": (a & ~b).sum(),
        "only_b": (~a & b).sum(),
        "neither": (~a & ~b).sum(),
    }
    expected = stats.binomtest(int((a & ~b).sum()), int((a != b).sum()), 0.5).pvalue
    assert result["p_value"] == pytest.approx(expected)
    with (other.path / "compare-with-mine.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert rows == [
        {name: "" if value is None else str(value) for name, value in flip.items()} for flip in result["flips"]
    ]
    assert len(rows) == (a != b).sum() == result["lost"] + result["gained"]
    assert sum(each["lost"] for each in result["per_class"]) == result["lost"]
    assert [run["run"] for run in result["b"]["runs"]] == ["runs/other"]
    assert {"recipe.epochs"} == {setting["name"] for setting in result["settings"]}


def test_groups_by_pattern(light_run: Path, other_light_run: Path, tmp_path: Path, drawn: list[Figure]) -> None:
    for seed in range(2):
        seeded(other_light_run, tmp_path / "runs" / f"base-{seed}", seed, flipped=10 * seed)
        seeded(light_run, tmp_path / "runs" / f"new-{seed}", seed, flipped=5 * seed)
    told = as_json("compare", "base-*", "new-*")
    stem = "runs/compare-new-0+new-1-with-base-0+base-1"
    assert told["files"][:2] == [f"{stem}.png", f"{stem}.csv"]
    result = told["result"]
    sides = [[run["acc"] for run in result[side]["runs"]] for side in "ab"]
    expected = stats.ttest_ind(*reversed(sides), equal_var=False)
    assert result["difference_interval_95"] == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (result["method"], result["paired"]) == ("welch", None)
    named = as_json("compare", "--a", "base-*", "--a", "base-0", "--b", "new-1", "--b", "new-0")["result"]
    assert named["difference"] == pytest.approx(result["difference"])
    assert [run["seed"] for run in named["b"]["runs"]] == [1, 0]
    assert "right" in " ".join(text.get_text() for text in drawn[0].axes[0].texts)
    shown = invoke("compare", "base-*", "new-*", COLUMNS="60").stdout
    assert "A (2 runs)" in shown
    assert [line for line in too_wide(shown) if not line.startswith(("B (2 runs)", "No difference"))] == []


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("", 2, "era compare takes two runs, as in era compare A B, or groups of them with --a and --b"),
        ("mine", 2, "era compare takes two runs"),
        ("mine other mine", 2, "3 runs are named, and era compare A B takes two: quote a pattern"),
        ("mine --b other", 2, "either as in era compare A B or with --a and --b: leave out one of the two"),
        ("--b other", 2, "--b names one side and --a is missing"),
        ("mine mine", 2, "runs/mine is on both sides"),
        ("--a mine --b *", 2, "runs/mine is on both sides"),
        ("mine nobody", 1, "there is no run 'nobody'"),
        ("mine no-*", 1, "no run under runs matches 'no-*'"),
        ("mine o*r --checkpoint other.ckpt", 2, "--checkpoint is 'other.ckpt', but must be best or last"),
        ("mine stopped", 1, "evaluate it as it is with --checkpoint best or last"),
        ("mine damaged", 1, "damaged/run.json is not valid JSON"),
        ("--a mine --a stopped --b other", 2, "name one run on each side"),
        ("mine elsewhere", 2, "cannot be compared, since their data are digits and /photos"),
        ("mine sampled", 2, "test on different samples (359 test images and 100 of 359 test images)"),
        ("mine sown --split val", 2, "have different validation images"),
        ("mine other --split test --data digits", 2, "--split"),
        ("mine other -n 0", 2, "--n"),
        ("mine other --out x.csv", 2, ".png, .svg or .pdf"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(
    run: Run, other: Run, tmp_path: Path, line: str, code: int, says: str
) -> None:
    document = run.read()
    for name in ("stopped", "damaged", "elsewhere", "sampled", "sown"):
        copied(run.path, tmp_path / "runs" / name)
    folder = tmp_path / "runs"
    Run(folder / "stopped").update(status="interrupted")
    (folder / "damaged" / "run.json").write_text("{")
    data = dataclasses.replace(document.data, source="/photos", content_hash="0" * 64)
    Run(folder / "elsewhere").update(data=data)
    Run(folder / "sampled").update(recipe=dataclasses.replace(document.recipe, limit_test=100))
    Run(folder / "sown").update(recipe=dataclasses.replace(document.recipe, seed=9), seed=9)
    before = files(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("era_cli.core.data.run_data.check", lambda *run, **where: None)  # there is no folder /photos
        assert says in the_error(invoke("compare", *line.split(), code=code))
    assert files(tmp_path) == before


def test_predictions_that_are_missing_are_computed(run: Run, other: Run) -> None:
    (other.path / "predictions-test.npz").unlink()
    done = invoke("compare", "mine", "other")
    assert "evaluating other: 359 images" in done.stderr
    assert "1 of 2 runs now, the others cached" in done.stdout
    assert (other.path / "predictions-test.npz").is_file()
    assert "cached in predictions-test.npz" in invoke("compare", "mine", "other").stdout


def test_files_are_named_after_what_was_compared(run: Run, other: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "elsewhere" / "mine")
    names = [
        Path(as_json("compare", *more)["files"][0]).name
        for more in (
            ("mine", "other"),
            ("elsewhere/mine", "other"),
            ("mine", "other", "--tta", "flip"),
            ("mine", "other", "--split", "val"),
            ("mine", "other", "--data", "digits"),
        )
    ]
    assert names[0] == names[4] == "compare-with-mine.png"
    assert names[1].startswith("compare-with-mine-")
    assert names[2:4] == ["compare-with-mine-test-flip.png", "compare-with-mine-val.png"]
    assert as_json("compare", "mine", "other", "--out", "x.svg")["files"][:2] == ["x.svg", "x-table.csv"]


def test_the_next_command_runs(run: Run, other: Run) -> None:
    said = [line for line in invoke("compare", "mine", "other").stdout.splitlines() if line.startswith("Next: ")]
    assert said[0].startswith("Next: era gradcam --index ")
    assert said[0].endswith("--run other")


def test_the_next_command_explains_no_image_that_its_run_gets_right(light_run: Path, tmp_path: Path) -> None:
    for name, flipped in {"a-0": 0, "a-1": 1, "b-0": 0, "b-1": 9, "b-2": 8}.items():
        seeded(light_run, tmp_path / "runs" / name, int(name[-1]), flipped=flipped)
    said = invoke("compare", "a-*", "b-*").stdout
    assert "Right in A, wrong in B" in said
    assert "Next: era misclassified --run b-0" in said
