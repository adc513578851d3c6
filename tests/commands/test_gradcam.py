"""`era gradcam` on real runs: in this process where that is enough, in its own where signals matter."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from era_cli.choices import CamMethod, Smoothing
from era_cli.cli import app
from era_cli.core.data import digits
from era_cli.core.evaluation import trained_run
from era_cli.core.gradcam import cam
from era_cli.listener import Listener
from era_cli.results import Labels
from era_cli.runs import artifacts
from era_cli.runs.document import SCHEMA
from era_cli.runs.run import Run
from tests.support import ERA, ESCAPE, environment, the_error

pytestmark = pytest.mark.usefixtures("own_place")


def draw(*arguments: str, code: int = 0, **environment: str) -> Result:
    result = CliRunner().invoke(app, ["gradcam", "--gpus=0", *arguments], env=environment)
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.stderr
    return result


def document(*arguments: str) -> Any:
    return json.loads(draw(*arguments, "--n=3", "--json").stdout)["result"]


def new_files(run: Run, *arguments: str) -> set[str]:
    """What the command writes into the run folder."""
    before = {artifact.path for artifact in run.contents()}
    draw(*arguments, "--n=1")
    return {path.name for path in {artifact.path for artifact in run.contents()} - before}


class Answers:
    """The run's answers on its test images by the file that training left."""

    def __init__(self, run: Run) -> None:
        with np.load(run.path / "predictions-test.npz") as arrays:
            self.index, self.labels, self.logits = arrays["index"], arrays["true"], arrays["logits"]
        odds = np.exp(self.logits.astype(float))
        self.probabilities = odds / odds.sum(axis=1, keepdims=True)
        self.predicted = self.logits.argmax(axis=1)

    @property
    def wrong(self) -> Labels:
        """The rows of the misclassified, the most confident first."""
        rows = np.flatnonzero(self.predicted != self.labels)
        return rows[np.argsort(-self.probabilities[rows].max(axis=1), kind="stable")]

    @property
    def right(self) -> Labels:
        """The other rows."""
        return np.flatnonzero(self.predicted == self.labels)


def digit_file(path: Path, number: int) -> Path:
    """A digit as a picture file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(digits.load(8).images[number].transpose(1, 2, 0)).save(path)
    return path


# The images of a run


def test_the_figure_is_written_and_named_and_the_table_is_on_stdout(run: Run) -> None:
    before = {artifact.path for artifact in run.contents()}
    done = draw("--n=4", "--layer=layer2")
    assert {path.name for path in {artifact.path for artifact in run.contents()} - before} == {"gradcam-layer2.png"}
    assert done.stdout.splitlines()[-2:] == ["runs/mine/gradcam-layer2.png", "runs/mine/predictions-test.npz"]
    with Image.open(run.path / "gradcam-layer2.png") as picture:
        picture.load()
    answers = Answers(run)
    for row in answers.wrong[:4]:
        cells: list[object] = [answers.index[row]]
        for place in (answers.labels[row], answers.predicted[row]):
            cells += [place, re.escape(f"{answers.probabilities[row, place]:.1%}")]
        assert re.search(r"^\s*" + r"\s+".join(map(str, cells)) + "$", done.stdout, re.M)
    assert re.search(r"^faithfulness\s+.*hottest 25%", done.stdout, re.M)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Note: ")]
    assert lines == ["explaining by gradcam: 4 images", "measuring faithfulness: 4 images"]
    assert ESCAPE not in done.output


def test_each_kind_takes_its_images_under_its_own_name(run: Run) -> None:
    answers = Answers(run)

    def numbers(*arguments: str) -> list[int]:
        return [image["index"] for image in document(*arguments)["images"]]

    assert numbers("--which", "misclassified") == answers.index[answers.wrong[:3]].tolist()
    right = set(answers.index[answers.right].tolist())
    correct, other = (numbers("--which=correct", f"--seed={seed}") for seed in (0, 1))
    assert set(correct) | set(other) <= right
    assert correct != other
    two = np.sort(answers.probabilities, axis=1)[:, -2:]
    closest = np.argsort(two[:, 1] - two[:, 0], kind="stable")[:3]
    assert numbers("--which", "uncertain") == answers.index[closest].tolist()
    assert len(set(numbers("--which", "all"))) == 3
    assert {path.name for path in run.path.glob("gradcam*")} == {
        "gradcam.png", "gradcam-correct.png", "gradcam-uncertain.png", "gradcam-all.png"
    }  # fmt: skip


def test_the_numbers_of_misclassified_csv_choose_images(run: Run) -> None:
    assert CliRunner().invoke(app, ["misclassified", "--gpus=0"]).exit_code == 0
    with (run.path / "misclassified.csv").open(encoding="utf-8-sig", newline="") as table:
        rows = list(csv.DictReader(table))[:9:4]
    told = document("--index", ",".join(row["index"] for row in rows))
    dataset = digits.load(8)
    for row, image in zip(rows, told["images"], strict=True):
        assert (str(image["index"]), image["true"], image["predicted"]) == (row["index"], row["true"], row["predicted"])
        assert image["probabilities"][row["predicted"]] == pytest.approx(float(row["confidence"]), abs=1e-4)
        assert dataset.classes[dataset.labels[image["index"]]] == row["true"]
    name = "-".join(row["index"] for row in rows)
    assert (run.path / f"gradcam-index-{name}.png").is_file()
    document("--index", ",".join(map(str, Answers(run).index[:20])))
    assert len(list(run.path.glob("gradcam-index-*.png"))) == 2
    assert max(len(path.name) for path in run.path.glob("gradcam-index-*.png")) < 70


@pytest.mark.parametrize("index", ["1797", "3,-1", "x", "", "1.5", "of training"])
def test_a_number_that_no_image_has_is_refused_in_a_sentence(run: Run, index: str, tmp_path: Path) -> None:
    if index == "of training":
        index = str(next(number for number in range(1797) if number not in Answers(run).index))
    before = sorted(tmp_path.rglob("*"))
    assert "--index" in the_error(draw(f"--index={index}", code=2))
    assert sorted(tmp_path.rglob("*")) == before


def test_the_document_is_one_and_its_figures_hold_together(run: Run) -> None:
    done = draw("--n=3", "--json", "--layer=layer2")
    told = json.loads(done.stdout)
    answers, result = Answers(run), told["result"]
    names = ("gradcam-layer2.png", "predictions-test.npz")
    assert (told["schema"], told["run"], told["files"]) == (
        SCHEMA,
        "runs/mine",
        [f"runs/mine/{name}" for name in names],
    )
    assert (result["method"], result["layer"], result["map_size"], result["count"]) == ("gradcam", "layer2", [2, 2], 3)
    assert result["faithfulness"]["count"] == 3
    for image, row in zip(result["images"], answers.wrong[:3], strict=True):
        assert image["index"] == answers.index[row]
        assert sum(image["probabilities"].values()) == pytest.approx(1)
        assert list(image["probabilities"].values()) == pytest.approx(answers.probabilities[row].tolist(), abs=1e-6)
        assert image["predicted"] == max(image["probabilities"], key=image["probabilities"].get)
        assert [told["of"] for told in image["maps"]] == ["predicted", "true"]
        assert [told["class"] for told in image["maps"]] == [image["predicted"], image["true"]]
        for heat in image["maps"]:
            assert heat["empty"] == (heat["peak"] is None) == (heat["maximum"] is None)
            assert heat["empty"] or (set(heat["peak"]) <= {2.0, 6.0} and heat["maximum"] > 0)  # middles of 2x2 cells


@pytest.mark.parametrize("target", ["predicted", "true"])
def test_the_target_says_which_class_has_a_map(run: Run, target: str) -> None:
    for image in document("--target", target)["images"]:
        assert [(told["of"], told["class"]) for told in image["maps"]] == [(target, image[target])]


def test_the_saved_maps_are_those_of_the_core(run: Run) -> None:
    done = draw("--n=3", "--method=hirescam", "--layer=layer2", "--smooth=aug", "--save-maps")
    names = ["runs/mine/gradcam-hirescam-layer2-aug.png", "runs/mine/gradcam-hirescam-layer2-aug-maps.npz"]
    assert done.stdout.splitlines()[-3:-1] == names
    answers = Answers(run)
    rows = answers.wrong[:3]
    opened = trained_run.TrainedRun.open(run, None, torch.device("cpu"))
    with np.load(names[1], allow_pickle=False) as arrays:
        assert arrays["index"].tolist() == answers.index[rows].tolist()
        images = digits.load(8).images[arrays["index"]]
        assert np.array_equal(arrays["images"], images.transpose(0, 2, 3, 1))
        assert arrays["targets"].tolist() == np.stack([answers.predicted[rows], answers.labels[rows]], 1).tolist()
        asked = cam.CamOptions(method=CamMethod("hirescam"), layer="layer2", smooth=Smoothing("aug"))
        assert not opened.classifier.mirrored  # the digits never are
        maps = cam.maps(opened.classifier, images, arrays["targets"], answers.logits[rows], asked, Listener())
        assert np.array_equal(arrays["maps"], maps)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("--method hirescam --layer layer2", "gradcam-hirescam-layer2.png"),
        ("--split val", "gradcam-val.png"),
        ("--target predicted", "gradcam-predicted.png"),
        ("--which correct --smooth both --method gradcam++", "gradcam-correct-gradcam++-both.png"),
    ],
)
def test_another_question_has_a_file_of_its_own(run: Run, arguments: str, name: str) -> None:
    made = new_files(run, *arguments.split())
    assert {name} == {other for other in made if not other.startswith("predictions")}


def test_out_names_the_figure_and_chooses_its_format(run: Run, tmp_path: Path) -> None:
    done = draw("--n=1", "--out", "new/x.svg", "--save-maps")
    assert (tmp_path / "new" / "x.svg").read_bytes().startswith(b"<?xml")
    assert done.stdout.splitlines()[-3:-1] == ["new/x.svg", "new/x-maps.npz"]
    assert list(run.path.glob("gradcam*")) == []


def test_missing_predictions_are_computed(run: Run) -> None:
    kept = document()
    (run.path / "predictions-test.npz").unlink()
    done = draw("--n=3", "--json")
    told = json.loads(done.stdout)["result"]
    assert "evaluating: 359 images" in done.stderr.splitlines()
    assert (run.path / "predictions-test.npz").is_file()
    assert [image["maps"] for image in told["images"]] == [image["maps"] for image in kept["images"]]


def test_eigencam_draws_one_map_and_says_why(run: Run) -> None:
    done = draw("--n=2", "--method=eigencam", "--layer=layer2", "--json")
    assert "Note: eigencam is class-agnostic: one map is drawn." in done.stderr.splitlines()
    assert [len(image["maps"]) for image in json.loads(done.stdout)["result"]["images"]] == [1, 1]


# Maps that show nothing


def changed_checkpoint(run: Run, name: str, change: Any) -> Path:
    """The run's best checkpoint with its linear layer's (weight, bias) changed in place."""
    state = torch.load(run.checkpoints / artifacts.BEST, weights_only=True)
    change(state["state_dict"]["network.linear.weight"], state["state_dict"]["network.linear.bias"])
    path = run.path.parent.parent / name
    torch.save(state, path)
    return path


def nothing_speaks_for_three(weight: torch.Tensor, bias: torch.Tensor) -> None:
    weight[3] = -weight[3].abs() - 0.01


def always_three_for_no_reason(weight: torch.Tensor, bias: torch.Tensor) -> None:
    nothing_speaks_for_three(weight, bias)
    bias[3] += 1000


@pytest.mark.parametrize("count", [2, 7])
def test_empty_maps_are_named_unless_there_are_many(run: Run, count: int) -> None:
    file = changed_checkpoint(run, "odd.ckpt", nothing_speaks_for_three)
    answers = Answers(run)
    threes = answers.index[answers.labels == 3][:count]
    done = draw(
        f"--index={','.join(map(str, threes))}", f"--checkpoint={file}", "--target=true", "--layer=layer2", "--json"
    )
    for image in json.loads(done.stdout)["result"]["images"]:
        (heat,) = image["maps"]
        assert image["predicted"] != "3"
        assert (heat["class"], heat["empty"], heat["peak"], heat["maximum"]) == ("3", True, None, None)
    named = [line for line in done.stderr.splitlines() if line.startswith("Note: Image")]
    assert len(named) == min(count, 5)
    for number, line in zip(threes, named, strict=False):
        assert line.startswith(f"Note: Image {number} has no map for 3: no evidence for it at layer2")
    assert ("Note: And 2 more." in done.stderr) == (count == 7)


def test_a_map_that_stands_for_both_classes_is_named_once_if_it_is_empty(run: Run) -> None:
    file = changed_checkpoint(run, "odd.ckpt", always_three_for_no_reason)
    answers = Answers(run)
    three, four = (answers.index[answers.labels == digit][0] for digit in (3, 4))
    done = draw(f"--index={three},{four}", f"--checkpoint={file}", "--layer=layer2", "--json")
    first, other = json.loads(done.stdout)["result"]["images"]
    assert [heat["class"] for heat in first["maps"] + other["maps"]] == ["3", "3", "3", "4"]
    assert done.stderr.count(f"Image {three} has no map for 3") == 1
    assert done.stderr.count(f"Image {four} has no map for 3") == 1


def folder(run: Run, path: Path, wrong: int, right: int) -> None:
    """A folder of digits of which so many are classified wrongly and rightly."""
    answers = Answers(run)
    for row in (*answers.wrong[:wrong], *answers.right[:right]):
        digit_file(path / str(answers.labels[row]) / f"{answers.index[row]}.png", answers.index[row])


@pytest.mark.parametrize("wrong", [0, 2])
def test_fewer_images_than_asked_for_are_told_of(run: Run, tmp_path: Path, wrong: int) -> None:
    folder(run, tmp_path / "easy", wrong, 5)
    done = draw(f"--n={wrong + 1}", "--data=easy")
    sentence = f"Note: There are {wrong} images to draw, fewer than --n {wrong + 1}."
    if not wrong:
        sentence = "Note: There are no such images: the figure stays empty."
    assert sentence in done.stderr.splitlines()
    with Image.open(done.stdout.splitlines()[-2]) as picture:
        picture.load()
    done = draw("--data=easy", "--json", "--layer=layer2", f"--n={max(1, wrong)}")
    assert ("There are" in done.stderr) == (wrong == 0)
    told = json.loads(done.stdout)["result"]
    assert len(told["images"]) == told["count"] == wrong
    assert (told["faithfulness"] is None) == (wrong == 0)


# A person's own pictures


def test_pictures_are_answered_as_the_same_images_of_the_data_are(run: Run, tmp_path: Path) -> None:
    answers = Answers(run)
    numbers = answers.index[answers.wrong[:3]].tolist()
    files = [str(digit_file(tmp_path / "own" / f"{number}.png", number)) for number in numbers]
    own = document("--layer=layer1", "--image", *files)
    known = document("--layer=layer1", "--target=predicted", "--index", ",".join(map(str, numbers)))
    assert [image["file"] for image in own["images"]] == files
    document("--layer=layer1", "--image", *files[:1])
    assert len(list(run.path.glob("gradcam-images-??????-layer1.png"))) == 2  # neither replaces the other
    for image, same in zip(own["images"], known["images"], strict=True):
        assert (image["index"], image["true"]) == (None, None)
        assert image["predicted"] == same["predicted"]
        assert image["probabilities"] == pytest.approx(same["probabilities"], abs=1e-5)
        assert [heat["of"] for heat in image["maps"]] == ["predicted"]
        assert image["maps"][0]["peak"] == same["maps"][0]["peak"]


def test_pictures_can_be_named_one_by_one_or_at_the_end_and_their_likeliest_classes_are_told(
    run: Run, tmp_path: Path
) -> None:
    answers = Answers(run)
    names = ["a.png", "b.png", "c.png"]
    for name, number in zip(names, answers.index, strict=False):
        digit_file(tmp_path / name, number)
    for arguments in ([f"--image={name}" for name in names], ["--image", *names], names):
        done = draw(*arguments, "--layer=layer2")
        for name, shares in zip(names, answers.probabilities, strict=False):
            said = ", ".join(f"{place} {shares[place]:.1%}" for place in np.argsort(-shares)[:3])
            assert re.search(rf"^\s*{name}\s+{re.escape(said)}$", done.stdout, re.M)
        assert done.stderr.splitlines()[0] == "classifying: 3 images"


@pytest.mark.parametrize("damage", ["cut", "text", "folder", "absent"])
def test_a_picture_that_cannot_be_read_is_named_and_nothing_is_written(run: Run, tmp_path: Path, damage: str) -> None:
    digit_file(tmp_path / "good.png", 0)
    bad = tmp_path / "bad.png"
    if damage == "cut":
        bad.write_bytes((tmp_path / "good.png").read_bytes()[:60])
    elif damage == "text":
        bad.write_text("no picture", encoding="utf-8")
    elif damage == "folder":
        bad.mkdir()
    before = sorted(tmp_path.rglob("*"))
    code = 2 if damage in ("folder", "absent") else 1
    assert "bad.png" in the_error(draw("--image", "good.png", "bad.png", "--save-maps", code=code))
    assert sorted(tmp_path.rglob("*")) == before


# How it looks


@pytest.mark.parametrize("pictures", [False, True])
def test_in_60_columns_no_line_but_a_path_is_wider(run: Run, tmp_path: Path, pictures: bool) -> None:
    file = digit_file(tmp_path / f"{'long' * 20}.png", 0)
    done = draw(*(["--image", file.name] if pictures else ["--n=3"]), COLUMNS="60")
    assert [line for line in done.stdout.splitlines() if cell_len(line) > 60 and not line.startswith("runs/")] == []


def test_quiet_leaves_stderr_empty(run: Run) -> None:
    done = draw("--quiet", "--n=1", "--method=scorecam", "--layer=prep")  # whose maps are never empty
    assert done.stderr == ""
    assert done.stdout.splitlines()[-2] == "runs/mine/gradcam-scorecam-prep.png"


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--which correct --index 3", "--index"),
        ("--image x.png --which all", "--which"),
        ("--image x.png --index 3", "--index"),
        ("--image x.png --split val", "--split"),
        ("--image x.png --data digits", "--data"),
        ("--image x.png --target true", "--target true"),
        ("--image x.png --target both", "--target both"),
        ("x.png --target true", "--target true"),
        ("--split test --data digits", "--split"),
        ("--method camcam", "--method"),
        ("--layer linear", "--layer"),
        ("--smooth much", "--smooth"),
        ("--n 0", "--n"),
        ("--alpha 1.5", "--alpha"),
        ("--out x.jpeg", ".png, .svg or .pdf"),
    ],
)
def test_wrong_usage_ends_with_2_and_leaves_nothing(run: Run, arguments: str, says: str, tmp_path: Path) -> None:
    digit_file(tmp_path / "x.png", 0)
    before = sorted(tmp_path.rglob("*"))
    assert says in the_error(draw(*arguments.split(), code=2))
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_run_it_says_how_to_get_one() -> None:
    assert "era fit" in the_error(draw(code=1))


def test_an_interrupt_in_the_middle_leaves_one_line_and_no_file(run: Run, tmp_path: Path) -> None:
    before = sorted(run.path.rglob("*"))
    child = subprocess.Popen(
        [*ERA, "gradcam", "--gpus=0", "--method=scorecam", "--which=all", "--n=300", "--save-maps"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with child:
        assert child.stderr is not None
        assert child.stdout is not None
        assert child.stderr.readline() == "explaining by scorecam: 300 images\n"
        os.kill(child.pid, signal.SIGINT)
        out, said = child.stdout.read(), child.stderr.read()
    assert child.returncode == 130, said
    assert out == ""
    assert len(said.splitlines()) == 1
    assert sorted(run.path.rglob("*")) == before
