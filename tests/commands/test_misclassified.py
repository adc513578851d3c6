"""`era misclassified` on real runs."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from rich.cells import cell_len
from scipy.special import log_softmax, softmax  # type: ignore[import-untyped]
from sklearn.datasets import load_digits
from typer.testing import CliRunner, Result

from era_cli.cli import app
from era_cli.core.evaluation import predictions, trained_run
from era_cli.core.fit import start
from era_cli.core.networks import checkpoint
from era_cli.listener import Listener
from era_cli.reports import style
from era_cli.runs import artifacts
from era_cli.runs.document import SCHEMA
from era_cli.runs.run import Run
from tests.commands.test_eval import digit_folder
from tests.support import ESCAPE, copied, request, the_error

pytestmark = pytest.mark.usefixtures("own_place")


@pytest.fixture(scope="module")
def light_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run with a checkpoint that holds no optimizer, to be read faster."""
    path = tmp_path_factory.mktemp("light") / "run"
    shutil.copytree(finished_run, path, ignore=shutil.ignore_patterns("*.ckpt"))
    state = checkpoint.read(finished_run / "checkpoints" / artifacts.BEST)
    light = {name: state[name] for name in ("state_dict", "global_step")}
    checkpoint.write(light, path / "checkpoints" / artifacts.BEST)
    opened = trained_run.TrainedRun.open(Run(path), None, torch.device("cpu"))
    predictions.load_or_compute(opened, opened.subset("test", None, Listener()), "none", Listener())
    return path


@pytest.fixture
def run(light_run: Path, tmp_path: Path) -> Run:
    """The finished run as runs/mine in the working folder."""
    return copied(light_run, tmp_path / "runs" / "mine")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, while they are."""
    figures: list[Figure] = []
    save = style.save

    def keeping(figure: Figure, path: Path) -> None:
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(style, "save", keeping)
    return figures


def misclassified(*arguments: str, code: int = 0, **environment: str) -> Result:
    result = CliRunner().invoke(app, ["misclassified", "--gpus=0", *arguments], env=environment)
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.stderr
    return result


def document(*arguments: str) -> Any:
    return json.loads(misclassified("--n=1", "--json", *arguments).stdout)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def numbers(path: Path) -> list[int]:
    return [int(row["index"]) for row in table(path)]


class Truth:
    """What the kept predictions say, by SciPy, of the images that are classified wrongly."""

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


# A digits run


def test_the_pairs_are_on_stdout_and_the_grid_and_the_table_are_written_and_named(run: Run) -> None:
    before = set(run.path.iterdir())
    done = misclassified()
    assert set(run.path.iterdir()) - before == {run.path / f"misclassified.{suffix}" for suffix in ("png", "csv")}
    named = [line for line in done.stdout.splitlines() if line.startswith("runs/")]
    assert named == [f"runs/mine/{name}" for name in ("misclassified.png", "misclassified.csv", "predictions-test.npz")]
    truth = Truth(run)
    count = len(truth.wrong)
    assert f"{count} of 359 ({count / 359:.2%})" in done.stdout
    pairs, counts = np.unique(np.stack([truth.true, truth.predicted])[:, truth.wrong], axis=1, return_counts=True)
    most = counts.argmax()
    assert [str(pairs[0, most]), str(pairs[1, most]), str(counts[most])] in [
        line.split()[:3] for line in done.stdout.splitlines()
    ]
    with Image.open(run.path / "misclassified.png") as picture:
        picture.load()
    assert done.stderr == ""
    assert ESCAPE not in done.output


def test_the_table_has_every_mistake_with_what_scipy_makes_of_the_predictions(run: Run) -> None:
    misclassified("--n=3")
    rows, truth = table(run.path / "misclassified.csv"), Truth(run)
    assert len(rows) == len(truth.wrong) > 3
    assert list(rows[0]) == ["index", "file", "true", "predicted", "confidence", "true_probability", "loss", "margin"]
    place_of = {int(index): place for place, index in enumerate(truth.index)}
    assert {place_of[int(row["index"])] for row in rows} == set(truth.wrong.tolist())
    for row in rows:
        place = place_of[int(row["index"])]
        assert (row["true"], row["predicted"]) == (str(truth.true[place]), str(truth.predicted[place]))
        assert row["file"] == ""
        for name, values in truth.values.items():
            assert float(row[name]) == pytest.approx(values[place], rel=1e-12)


def test_the_index_is_that_of_the_digits_and_the_image_drawn_is_that_one(run: Run, drawn: list[Figure]) -> None:
    misclassified("--n=4")
    rows, digits = table(run.path / "misclassified.csv"), load_digits()
    assert [int(row["true"]) for row in rows] == [digits.target[int(row["index"])] for row in rows]
    (figure,) = drawn
    shown = [image.get_array() for image in figure.axes[0].get_images()]
    assert len(shown) == 4
    for row, image in zip(rows, shown, strict=False):
        pixels = np.round(digits.images[int(row["index"])] * 255 / 16)
        assert image is not None
        np.testing.assert_array_equal(image, np.repeat(pixels[:, :, None], 3, axis=2))
    texts = [text.get_text() for text in figure.axes[0].texts]
    for row in rows[:4]:
        assert f"{row['predicted']} / {row['true']}" in texts
        assert f"{float(row['confidence']):.1%}" in texts


@pytest.mark.parametrize("order", ["confidence", "loss", "margin", "index"])
def test_sort_chooses_what_comes_first(run: Run, order: str) -> None:
    told = document("--sort", order)["result"]
    truth = Truth(run)
    value = truth.index if order == "index" else -truth.values[order]
    wanted = [int(truth.index[place]) for place in sorted(truth.wrong, key=lambda place: float(value[place]))]
    assert [image["index"] for image in told["images"]] == wanted
    assert told["order"] == order


def test_the_random_order_is_that_of_its_seed(run: Run) -> None:
    one, other = (
        [image["index"] for image in document("--sort=random", *seed)["result"]["images"]]
        for seed in ([], ["--seed=1"])
    )
    assert one != other
    assert sorted(one) == sorted(other)
    assert one != sorted(one)


def test_unasked_the_most_confident_mistakes_come_first_and_the_widest_margins_of_suspects(run: Run) -> None:
    for arguments, name in (([], "confidence"), (["--suspects"], "margin")):
        told = document(*arguments)["result"]
        values = [image[name] for image in told["images"]]
        assert told["order"] == name
        assert values == sorted(values, reverse=True)


def test_classes_can_be_chosen_and_their_files_stand_beside_those_of_all(run: Run) -> None:
    misclassified("--n=1")
    whole = (run.path / "misclassified.csv").read_bytes()
    truth = Truth(run)
    true, predicted = (int(values[truth.wrong[0]]) for values in (truth.true, truth.predicted))
    cases: list[tuple[list[str], npt.NDArray[np.bool_]]] = [
        ([f"--true={true}"], truth.true == true),
        ([f"--predicted={predicted}"], truth.predicted == predicted),
        ([f"--true={true}", f"--predicted={predicted}"], (truth.true == true) & (truth.predicted == predicted)),
    ]
    names = set()
    for arguments, kept in cases:
        told = document(*arguments)
        wanted = truth.index[truth.wrong[kept[truth.wrong]]]
        assert {image["index"] for image in told["result"]["images"]} == set(wanted.tolist())
        assert (told["result"]["count"], told["result"]["total"]) == (len(wanted), len(truth.wrong))
        figure, listed, _ = map(Path, told["files"])
        assert figure.is_file()
        assert numbers(listed) == [image["index"] for image in told["result"]["images"]]
        names |= {figure.name, listed.name}
    assert len(names) == 6
    assert "misclassified.csv" not in names
    assert (run.path / "misclassified.csv").read_bytes() == whole


def test_suspects_have_their_own_files_and_columns(run: Run) -> None:
    misclassified("--n=1")
    before = (run.path / "misclassified.csv").read_bytes()
    done = misclassified("--n=1", "--suspects")
    assert {"runs/mine/suspects.png", "runs/mine/suspects.csv"} <= set(done.stdout.splitlines())
    assert (run.path / "misclassified.csv").read_bytes() == before
    rows, truth = table(run.path / "suspects.csv"), Truth(run)
    thresholds = [truth.own[truth.true == digit].mean() for digit in range(10)]
    wanted = {}
    for place, probabilities in enumerate(truth.probabilities):
        reached = {digit: p for digit, p in enumerate(probabilities) if p >= thresholds[digit]}
        if reached and (digit := max(reached, key=lambda digit: reached[digit])) != truth.true[place]:
            wanted[int(truth.index[place])] = (str(truth.true[place]), str(digit))
    assert {int(row["index"]): (row["label"], row["suggested"]) for row in rows} == wanted
    assert wanted
    assert "misleads" not in done.stderr


def test_suspects_among_the_images_it_was_trained_on_come_with_a_warning(run: Run) -> None:
    assert "Note: The network was trained on these labels" in misclassified("--suspects", "--split=train").stderr
    assert (run.path / "suspects-train.csv").is_file()
    assert "Note" not in misclassified("--split=train", "--n=1").stderr


def test_the_files_of_another_split_are_called_after_it(run: Run) -> None:
    told = document("--split=val", "--predicted=1")
    names = [Path(file).name for file in told["files"]]
    assert names[2] == "predictions-val.npz"
    assert names[0].startswith("misclassified-val-predicted-1")
    assert all(Path(file).is_file() for file in told["files"])
    truth = Truth(run, "val")
    assert told["result"]["total"] == len(truth.wrong)
    assert told["result"]["judged"] == len(truth.true) == run.read().as_dict()["data"]["counts"]["val"]
    assert document("--split=val")["files"][:2] == [
        "runs/mine/misclassified-val.png",
        "runs/mine/misclassified-val.csv",
    ]


def test_a_network_without_a_mistake_ends_well_and_says_so(run: Run, tmp_path: Path) -> None:
    truth, digits = Truth(run), load_digits()
    right = np.flatnonzero(truth.predicted == truth.true)[:8]
    for place in right:
        file = tmp_path / "right" / str(truth.true[place]) / f"{truth.index[place]}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        grey = np.round(digits.images[truth.index[place]] * 255 / 16).astype(np.uint8)
        Image.fromarray(grey).convert("RGB").save(file)
    done = misclassified("--data=right")
    assert "0 of 8 (0.00%)" in done.stdout
    assert "no such images" in done.stderr
    figure, listed, _ = (tmp_path / line for line in done.stdout.splitlines() if line.startswith("runs/"))
    assert table(listed) == []
    assert listed.read_text(encoding="utf-8").startswith("index,file,true,predicted,")
    with Image.open(figure) as picture:
        picture.load()
    told = document("--data=right")["result"]
    assert (told["total"], told["share"], told["pairs"], told["images"]) == (0, 0.0, [], [])


def test_classes_that_are_never_confused_leave_an_empty_grid_and_say_so(run: Run) -> None:
    truth = Truth(run)
    confused = {(int(truth.true[place]), int(truth.predicted[place])) for place in truth.wrong}
    true, predicted = next(
        (one, other) for one in range(10) for other in range(10) if one != other and (one, other) not in confused
    )
    for arguments in ([], ["--columns=3"]):
        done = misclassified(f"--true={true}", f"--predicted={predicted}", *arguments)
        assert f"{len(truth.wrong)} of 359" in done.stdout
        assert "no such images" in done.stderr
    figure, listed, _ = (Path(line) for line in done.stdout.splitlines() if line.startswith("runs/"))
    assert numbers(listed) == []
    with Image.open(figure) as picture:
        picture.load()


def test_fewer_mistakes_than_asked_for_come_with_a_note(run: Run, drawn: list[Figure]) -> None:
    truth = Truth(run)
    digit = truth.true[truth.wrong[0]]
    count = int((truth.true[truth.wrong] == digit).sum())
    for n, noted in ((count + 1, True), (count, False)):
        done = misclassified(f"--n={n}", f"--true={digit}")
        assert (f"{count} image" in done.stderr and f"--n {n}" in done.stderr) == noted
        assert len(drawn.pop().axes[0].get_images()) == count


def test_json_is_one_document_on_stdout_with_the_rows_of_the_table(run: Run) -> None:
    (run.path / "predictions-test.npz").unlink()
    done = misclassified("--n=2", "--json")
    told = json.loads(done.stdout)
    assert (told["schema"], told["run"], told["data"]["part"]) == (SCHEMA, "runs/mine", "test")
    assert all(Path(file).is_file() for file in told["files"])
    assert [Path(file).suffix for file in told["files"]] == [".png", ".csv", ".npz"]
    assert done.stderr.splitlines() == ["evaluating: 359 images"]
    rows = table(run.path / "misclassified.csv")
    assert len(rows) == told["result"]["count"] == told["result"]["total"]
    for row, image in zip(rows, told["result"]["images"], strict=True):
        assert row == {name: "" if value is None else str(value) for name, value in image.items()}
    assert sum(pair["count"] for pair in told["result"]["pairs"]) == told["result"]["total"]


def test_columns_are_as_many_as_asked_for(run: Run, drawn: list[Figure]) -> None:
    misclassified("--n=7", "--columns=3")
    lefts = [image.get_extent()[0] for image in drawn[0].axes[0].get_images()]
    assert len(lefts) == 7
    assert len(set(lefts)) == 3


def test_out_names_the_figure_and_the_table_lies_beside_it(run: Run, tmp_path: Path) -> None:
    before = set(run.path.iterdir())
    done = misclassified("--n=2", "--out=new/x.svg")
    assert (tmp_path / "new" / "x.svg").read_bytes().startswith(b"<?xml")
    assert len(numbers(tmp_path / "new" / "x-table.csv")) == len(Truth(run).wrong)
    assert {"new/x.svg", "new/x-table.csv"} <= set(done.stdout.splitlines())
    assert set(run.path.iterdir()) == before


@pytest.mark.parametrize("name", ["metrics", "steps"])
def test_the_table_never_takes_the_place_of_the_runs_own_records(run: Run, name: str) -> None:
    before = (run.path / f"{name}.csv").read_bytes()
    CliRunner().invoke(app, ["misclassified", "--gpus=0", "--n=1", f"--out=runs/mine/{name}.png"])
    assert (run.path / f"{name}.csv").read_bytes() == before


def test_what_was_found_is_on_stdout_even_if_its_files_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = misclassified("--n=1", "--out=file/x.png", code=1)
    assert f"{len(Truth(run).wrong)} of 359" in done.stdout
    (line,) = done.stderr.splitlines()
    assert "cannot be written" in line


@pytest.mark.parametrize("arguments", [[], ["--suspects"], ["--true=3"]])
def test_in_60_columns_no_line_but_a_path_is_wider(run: Run, arguments: list[str]) -> None:
    done = misclassified("--n=1", *arguments, COLUMNS="60")
    assert [line for line in done.stdout.splitlines() if cell_len(line) > 60 and not line.startswith("runs/")] == []


def test_quiet_leaves_stderr_empty(run: Run) -> None:
    done = misclassified("--quiet", "--n=1", "--split=val")
    assert done.stderr == ""
    assert "misclassified" in done.stdout


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--true 33", "did you mean '3'?"),
        ("--predicted cat", "the classes are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        ("--true 3 --predicted 3", "is not misclassified"),
        ("--n 0", "--n"),
        ("--columns 0", "--columns"),
        ("--seed -1", "--seed"),
        ("--sort entropy", "--sort"),
        ("--out x.csv", ".png, .svg or .pdf"),
        ("--split test --data digits", "--split"),
        ("--data nowhere", "'nowhere'"),
    ],
)
def test_wrong_usage_ends_with_2_and_leaves_nothing(run: Run, arguments: str, says: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert says in the_error(misclassified(*arguments.split(), code=2))
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unfinished_run_is_refused_until_a_checkpoint_is_named(run: Run) -> None:
    run.update(status="interrupted")
    assert "--checkpoint best or last" in the_error(misclassified(code=1))
    misclassified("--n=1", "--checkpoint=best")


# Folders


def test_the_images_of_a_folder_are_named_by_their_files(run: Run, tmp_path: Path) -> None:
    digit_folder(tmp_path / "scans", {"3": 12, "8": 12})
    told = document("--data=scans")
    (listed,) = run.path.glob("misclassified-data-scans-??????.csv")
    rows = table(listed)
    assert rows
    for row, image in zip(rows, told["result"]["images"], strict=True):
        assert (tmp_path / "scans" / row["file"]).is_file()
        assert row["file"] == image["file"]
        assert Path(row["file"]).parent.name == row["true"]


FORMULAS = ("=cmd|'calc'!A0", "@SUM(1,2)", '-1+"1"', "cat")


@pytest.fixture(scope="module")
def formula_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on class folders whose names a spreadsheet would compute."""
    base = tmp_path_factory.mktemp("formulas")
    draw = np.random.default_rng(0)
    for name in FORMULAS:
        folder = base / "images" / name
        folder.mkdir(parents=True)
        for place in range(15):
            Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"+{place}, a.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(base / "cache"))
        asked = request(base / "runs", source=str(base / "images"), epochs=1, batch_size=8, limit_train=None)
        fit = start.prepare(asked, Listener())
        fit.train(Listener())
    return fit.run.path


def test_class_names_that_are_formulas_are_text_in_the_table(formula_run: Path, tmp_path: Path) -> None:
    run = copied(formula_run, tmp_path / "runs" / "sums")
    told = document()["result"]
    rows = table(run.path / "misclassified.csv")
    assert len(rows) == told["count"] > 0
    images = Path(run.read().as_dict()["data"]["source"])
    seen = set()
    for row, image in zip(rows, told["images"], strict=True):
        for column in ("file", "true", "predicted"):
            text = image[column]
            assert row[column] == (text if text.startswith("cat") else f"'{text}")
            seen.add(text)
        assert (images / image["file"]).is_file()
    assert seen & set(FORMULAS[:3])


def test_a_class_whose_name_is_a_formula_can_be_asked_for(formula_run: Path, tmp_path: Path) -> None:
    copied(formula_run, tmp_path / "runs" / "sums")
    told = document(f"--true={FORMULAS[1]}")
    assert {image["true"] for image in told["result"]["images"]} <= {FORMULAS[1]}
    assert told["result"]["true"] == FORMULAS[1]
    assert all(Path(file).is_file() for file in told["files"])
    assert "did you mean '@SUM(1,2)'?" in the_error(misclassified("--true=@SUM(1,3)", code=2))
