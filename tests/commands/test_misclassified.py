"""`era misclassified` on real runs; what all commands have in common is in test_common."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scipy.special import log_softmax, softmax
from sklearn.datasets import load_digits

from era_cli.core.evaluation import mistakes
from era_cli.reports import misclassified as report
from era_cli.runs.document import SCHEMA
from era_cli.runs.run import Run
from tests.support import ESCAPE, as_json, digit_folder, files, invoke, named_files, the_error, write_digit


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Truth:
    """What the cached predictions say, by SciPy, of the misclassified images."""

    def __init__(self, run: Run, split: str = "test") -> None:
        with np.load(run.path / f"predictions-{split}.npz") as arrays:
            self.index, self.true, logits = arrays["index"], arrays["true"], arrays["logits"].astype(np.float64)
        self.predicted = logits.argmax(axis=1)
        self.probabilities = softmax(logits, axis=1)
        self.wrong = np.flatnonzero(self.predicted != self.true)
        rows = np.arange(len(logits))
        self.own = self.probabilities[rows, self.true]
        others = self.probabilities.copy()
        others[rows, self.true] = -1
        self.values: dict[str, npt.NDArray[np.float64]] = {
            "confidence": self.probabilities.max(axis=1),
            "true_probability": self.own,
            "loss": -log_softmax(logits, axis=1)[rows, self.true],
            "margin": others.max(axis=1) - self.own,
        }


def test_pairs_grid_and_table_are_named(run: Run) -> None:
    before = files(run.path)
    done = invoke("misclassified")
    assert files(run.path) - before == {"misclassified.png", "misclassified.csv"}
    assert named_files(done.stdout) == [
        f"runs/mine/{name}" for name in ("misclassified.png", "misclassified.csv", "predictions-test.npz")
    ]
    truth = Truth(run)
    count = len(truth.wrong)
    assert f"{count} of 359 ({count / 359:.2%})" in done.stdout
    pairs, counts = np.unique(np.stack([truth.true, truth.predicted])[:, truth.wrong], axis=1, return_counts=True)
    most = counts.argmax()
    assert [str(pairs[0, most]), str(pairs[1, most]), str(counts[most])] in [
        line.split()[:3] for line in done.stdout.splitlines()
    ]
    with Image.open(run.path / "misclassified.png") as image:
        image.load()
    assert done.stderr == ""
    assert ESCAPE not in done.output


def test_json_and_table_hold_every_mistake(run: Run) -> None:
    told = as_json("misclassified", "--n=3")
    rows, truth = table(run.path / "misclassified.csv"), Truth(run)
    assert (told["schema"], told["run"], told["data"]["split"]) == (SCHEMA, "runs/mine", "test")
    assert [Path(file).suffix for file in told["files"]] == [".png", ".csv", ".npz"]
    assert len(rows) == len(truth.wrong) == told["result"]["count"] == told["result"]["total"] > 3
    assert sum(pair["count"] for pair in told["result"]["pairs"]) == told["result"]["total"]
    assert list(rows[0]) == ["index", "file", "true", "predicted", "confidence", "true_probability", "loss", "margin"]
    place_of = {int(index): place for place, index in enumerate(truth.index)}
    assert {place_of[int(row["index"])] for row in rows} == set(truth.wrong.tolist())
    for row, image in zip(rows, told["result"]["images"], strict=True):
        assert row == {name: "" if value is None else str(value) for name, value in image.items()}
        place = place_of[int(row["index"])]
        assert (row["true"], row["predicted"]) == (str(truth.true[place]), str(truth.predicted[place]))
        for name, values in truth.values.items():
            assert float(row[name]) == pytest.approx(values[place], rel=1e-12)


def test_the_image_drawn_is_that_of_its_index(run: Run, drawn: list[Figure]) -> None:
    invoke("misclassified", "--n=4", "--columns=3")
    rows, digits = table(run.path / "misclassified.csv"), load_digits()
    assert [int(row["true"]) for row in rows] == [digits.target[int(row["index"])] for row in rows]
    (figure,) = drawn
    images = figure.axes[0].get_images()
    assert len(images) == 4
    assert len({image.get_extent()[0] for image in images}) == 3  # columns
    texts = [text.get_text() for text in figure.axes[0].texts]
    for row, image in zip(rows, images, strict=False):
        pixels = np.round(digits.images[int(row["index"])] * 255 / 16)
        np.testing.assert_array_equal(image.get_array(), np.repeat(pixels[:, :, None], 3, axis=2))
        assert f"{row['predicted']} / {row['true']}" in texts
        assert f"{float(row['confidence']):.1%}, index {row['index']}" in texts


@pytest.mark.parametrize(("options", "order"), [("", "confidence"), ("--suspects", "margin"), ("--sort=loss", "loss")])
def test_the_sort_order_and_its_defaults(run: Run, options: str, order: str) -> None:
    told = as_json("misclassified", "--n=1", *options.split())["result"]
    values = [image[order] for image in told["images"]]
    assert told["order"] == order
    assert values == sorted(values, reverse=True)


def test_chosen_classes_have_files_of_their_own(run: Run) -> None:
    truth = Truth(run)
    true, predicted = (int(values[truth.wrong[0]]) for values in (truth.true, truth.predicted))
    cases: list[tuple[list[str], npt.NDArray[np.bool_]]] = [
        ([f"--true={true}"], truth.true == true),
        ([f"--predicted={predicted}"], truth.predicted == predicted),
        ([f"--true={true}", f"--predicted={predicted}"], (truth.true == true) & (truth.predicted == predicted)),
    ]
    names = set()
    for arguments, chosen in cases:
        told = as_json("misclassified", "--n=1", *arguments)
        wanted = truth.index[truth.wrong[chosen[truth.wrong]]]
        indices = [image["index"] for image in told["result"]["images"]]
        assert set(indices) == set(wanted.tolist())
        assert (told["result"]["count"], told["result"]["total"]) == (len(wanted), len(truth.wrong))
        figure, listed, _ = map(Path, told["files"])
        assert figure.is_file()
        assert [int(row["index"]) for row in table(listed)] == indices
        names |= {figure.name, listed.name}
    assert len(names) == 6
    assert not (run.path / "misclassified.csv").exists()


def test_suspects_have_files_and_columns_of_their_own(run: Run) -> None:
    done = invoke("misclassified", "--n=1", "--suspects")
    assert {"runs/mine/suspects.png", "runs/mine/suspects.csv"} <= set(done.stdout.splitlines())
    assert not (run.path / "misclassified.csv").exists()
    rows, truth = table(run.path / "suspects.csv"), Truth(run)
    thresholds = [truth.own[truth.true == digit].mean() for digit in range(10)]
    wanted = {}
    for place, probabilities in enumerate(truth.probabilities):
        reached = {digit: p for digit, p in enumerate(probabilities) if p >= thresholds[digit]}
        if reached and (digit := max(reached, key=lambda digit: reached[digit])) != truth.true[place]:
            wanted[int(truth.index[place])] = (str(truth.true[place]), str(digit))
    assert {int(row["index"]): (row["label"], row["suggested"]) for row in rows} == wanted
    assert wanted
    assert "Warning" not in done.stderr
    done = invoke("misclassified", "--n=1", "--suspects", "--split=train", "--quiet")
    assert "Warning: The network was trained on these labels" in done.stderr
    assert "Warning" not in invoke("misclassified", "--n=1", "--split=train").stderr


def test_suspects_of_an_inaccurate_network_need_force(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told = as_json("misclassified", "--n=1", "--suspects")["result"]
    assert told["acc"] == run.read().as_dict()["result"]["test_acc"]
    assert 0 <= told["expected_with_right_labels"] <= 359
    assert f"{mistakes.MOST_EXPECTED:.0%}" in invoke("misclassified", "--help").stdout
    monkeypatch.setattr(mistakes, "MOST_EXPECTED", -1.0)
    error = the_error(invoke("misclassified", "--suspects", code=1))
    assert f"{told['acc']:.2%}" in error
    assert "--force" in error
    assert "expected at" in invoke("misclassified", "--suspects", "--force").stdout
    assert "--suspects" in the_error(invoke("misclassified", "--force", code=2))


def test_pages_of_a_longer_grid_are_removed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PAGE", 3)
    for n, pages in ((7, ["", "-page-2", "-page-3"]), (4, ["", "-page-2"]), (2, [""])):
        told = as_json("misclassified", "-n", str(n))
        names = [f"misclassified{page}.png" for page in pages]
        assert [Path(file).name for file in told["files"]][: len(pages)] == names
        assert sorted(path.name for path in run.path.glob("misclassified*.png")) == sorted(names)


def test_old_pages_beside_out_are_only_named(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(report, "PAGE", 3)
    assert "page" not in invoke("misclassified", "-n5", "--out=x.svg").stderr
    done = invoke("misclassified", "-n2", "--out=x.svg")
    assert "Note: x-page-2.svg is not of this figure" in done.stderr
    assert (tmp_path / "x-page-2.svg").is_file()


def test_another_split_has_files_of_its_own(run: Run) -> None:
    told = as_json("misclassified", "--n=1", "--split=val", "--predicted=1")
    names = [Path(file).name for file in told["files"]]
    assert names[0].startswith("misclassified-val-predicted-1")
    assert names[2] == "predictions-val.npz"
    assert all(Path(file).is_file() for file in told["files"])
    truth = Truth(run, "val")
    assert told["result"]["total"] == len(truth.wrong)
    assert told["result"]["evaluated"] == len(truth.true) == run.read().data.counts.val


def test_a_network_without_a_mistake_ends_well(run: Run, tmp_path: Path) -> None:
    truth = Truth(run)
    for place in np.flatnonzero(truth.predicted == truth.true)[:8]:
        write_digit(tmp_path / "right" / str(truth.true[place]) / f"{truth.index[place]}.png", truth.index[place])
    done = invoke("misclassified", "--data=right")
    assert "0 of 8 (0.00%)" in done.stdout
    assert "no such images" in done.stderr
    assert "Next: era gradcam --which uncertain --data right" in done.stdout
    figure, listed, _ = (tmp_path / name for name in named_files(done.stdout))
    assert listed.read_text(encoding="utf-8").startswith("index,file,true,predicted,")
    assert table(listed) == []
    with Image.open(figure) as image:
        image.load()
    told = as_json("misclassified", "--data=right")["result"]
    assert (told["total"], told["share"], told["pairs"], told["images"]) == (0, 0.0, [], [])


def test_fewer_mistakes_than_asked_for_are_noted(run: Run, drawn: list[Figure]) -> None:
    truth = Truth(run)
    digit = truth.true[truth.wrong[0]]
    count = int((truth.true[truth.wrong] == digit).sum())
    for n, noted in ((count + 1, True), (count, False)):
        done = invoke("misclassified", f"--n={n}", f"--true={digit}")
        assert (f"{count} image" in done.stderr and f"--n is {n}" in done.stderr) == noted
        assert len(drawn.pop().axes[0].get_images()) == count


def test_the_table_never_replaces_the_runs_records(run: Run) -> None:
    before = (run.path / "metrics.csv").read_bytes()
    invoke("misclassified", "--n=1", "--out=runs/mine/metrics.png")
    assert (run.path / "metrics.csv").read_bytes() == before


def test_images_of_a_folder_have_their_files(run: Run, tmp_path: Path) -> None:
    digit_folder(tmp_path / "scans", {"3": 12, "8": 12})
    told = as_json("misclassified", "--data=scans")
    (listed,) = run.path.glob("misclassified-data-scans-??????.csv")
    rows = table(listed)
    assert rows
    for row, image in zip(rows, told["result"]["images"], strict=True):
        assert (tmp_path / "scans" / row["file"]).is_file()
        assert row["file"] == image["file"]
        assert Path(row["file"]).parent.name == row["true"]
