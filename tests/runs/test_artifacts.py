from __future__ import annotations

import re
from pathlib import Path

import pytest

from era_cli.choices import CamMethod, Smoothing, Target, Which
from era_cli.runs import artifacts
from tests.support import make_run

CLASSES = ("cat", "dog/wolf", "é")


def heatmaps(
    label: str,
    images: str,
    method: CamMethod = CamMethod.GRADCAM,
    smooth: Smoothing = Smoothing.NONE,
    layer: str | None = None,
    target: Target | None = None,
) -> str:
    return artifacts.heatmaps(label, images, method, smooth, layer=layer, target=target)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (artifacts.predictions("test"), "predictions-test.npz"),
        (artifacts.evaluation("val-last"), "eval-val-last.json"),
        (artifacts.confusion("test"), "confusion.png"),
        (artifacts.reliability("val"), "reliability-val.png"),
        (heatmaps("test", Which.MISCLASSIFIED), "gradcam.png"),
        (heatmaps("", "image-photo", CamMethod.LAYERCAM), "gradcam-image-photo-layercam.png"),
        (
            heatmaps("val", Which.ALL, CamMethod.HIRESCAM, Smoothing.AUG, layer="layer1", target=Target.TRUE),
            "gradcam-val-all-hirescam-layer1-aug-true.png",
        ),
        (artifacts.selection("image", ["my photo.1", "b", "c", "d"]), "image-my_photo_1-and-3-more"),
        (artifacts.selection("image", ["x" * 300, "b"]), f"image-{'x' * 40}-and-1-more"),
        (artifacts.selection("image", ["猫"]), "image-猫"),
        (artifacts.selection("image", ["$$"]), "image-unnamed"),
        (artifacts.selection("index", ["12"]), "index-12"),
        (
            artifacts.misclassified("test", CLASSES, true=None, predicted=None, suspects=False),
            "misclassified.png",
        ),
        (
            artifacts.misclassified("val", CLASSES, true="dog/wolf", predicted="é", suspects=True),
            "suspects-val-true-1_dog_wolf-predicted-2__.png",
        ),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert name == expected


def test_a_comparison_is_named_after_its_runs(tmp_path: Path) -> None:
    a, b, elsewhere = tmp_path / "a_b", tmp_path / "b", tmp_path / "other" / "a_b"
    assert artifacts.comparison_with(a, b, "test") == "compare-with-a_b.png"
    assert artifacts.comparison_with(a, b, "val-last") == "compare-with-a_b-val-last.png"
    assert re.fullmatch(r"compare-with-a_b-[0-9a-f]{6}\.png", artifacts.comparison_with(elsewhere, b, "test"))
    for name in ("a b", "a+b"):  # which would be those of a_b, and of a and b
        marked = artifacts.comparison_with(tmp_path / name, b, "test")
        assert re.fullmatch(r"compare-with-a_b-[0-9a-f]{6}\.png", marked)
    assert artifacts.comparison_of([b], [a, b], tmp_path, "test") == "compare-b-with-a_b+b.png"
    many = [tmp_path / f"a-long-name-{place}" for place in range(9)]
    names = {artifacts.comparison_of([b], many[:count], tmp_path, "test") for count in (7, 8, 9)}
    assert len(names) == 3
    assert all(re.fullmatch(r"compare-b-with-a-long-name-0-and-\d-more-[0-9a-f]{6}\.png", name) for name in names)


def test_what_goes_beside_a_figure() -> None:
    assert artifacts.beside(Path("a/metrics.png"), "table.csv") == Path("a/metrics-table.csv")


def test_a_person_opens_figures_and_tables_first() -> None:
    names = ["checkpoints/best.ckpt", "curves.png", "metrics.csv", "run.json", "samples.png", "steps.csv", "x.SVG"]
    opened, others = artifacts.opened_first(Path("runs/mine") / name for name in names)
    assert [file.name for file in opened] == ["curves.png", "metrics.csv", "samples.png", "x.SVG"]
    assert [file.name for file in others] == ["best.ckpt", "run.json", "steps.csv"]


def test_a_run_lists_what_it_holds_with_titles(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for name in ("checkpoints/last.ckpt", "checkpoints/.last.ckpt.x.partial", "curves.png", "confusion-val-last.png"):
        (run.path / name).touch()
    (run.path / "notes.txt").touch()
    with run.lock():
        titles = {str(artifact.path.relative_to(run.path)): artifact.title for artifact in run.contents()}
    assert titles == {
        "checkpoints/last.ckpt": "Checkpoint: most recent",
        "confusion-val-last.png": "Confusion matrix (val-last)",
        "curves.png": "Loss, accuracy and learning rate",
        "notes.txt": "",
        "run.json": "Run: recipe, data, versions, result",
    }


def test_everything_that_a_run_writes_has_a_title(finished_run: Path) -> None:
    contents = artifacts.contents(finished_run)
    assert len(contents) >= 7
    assert [artifact.path for artifact in contents if not artifact.title] == []
