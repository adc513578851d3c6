"""`era gradcam` on real runs; what all commands have in common is in test_common."""

from __future__ import annotations

import csv
import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from era_cli.choices import CamMethod, Smoothing
from era_cli.core.data import digits
from era_cli.core.evaluation import trained_run
from era_cli.core.gradcam import cam
from era_cli.listener import Listener
from era_cli.results import Labels
from era_cli.runs import artifacts
from era_cli.runs.document import SCHEMA
from era_cli.runs.run import Run
from tests.support import ESCAPE, as_json, files, invoke, named_files, start, the_error, write_digit


def document(*arguments: str) -> Any:
    return as_json("gradcam", "--n=3", *arguments)["result"]


class Answers:
    """The run's answers on its test images, from the predictions that training cached."""

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


# The images of a run


def test_the_figure_is_named_below_its_table(run: Run) -> None:
    before = files(run.path)
    done = invoke("gradcam", "--n=4", "--layer=layer2")
    assert files(run.path) - before == {"gradcam-layer2.png"}
    assert named_files(done.stdout) == ["runs/mine/gradcam-layer2.png", "runs/mine/predictions-test.npz"]
    with Image.open(run.path / "gradcam-layer2.png") as image:
        image.load()
    answers = Answers(run)
    for row in answers.wrong[:4]:
        cells: list[object] = [answers.index[row]]
        for place in (answers.labels[row], answers.predicted[row]):
            cells += [place, re.escape(f"{answers.probabilities[row, place]:.1%}")]
        assert re.search(r"^\s*" + r"\s+".join(map(str, cells)) + "$", done.stdout, re.M)
    assert re.search(r"^faithfulness\s+.*hottest 25%", done.stdout, re.M)
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("Note: ", "Warning: "))]
    assert lines == ["computing heat maps (gradcam): 4 images", "measuring faithfulness: 4 images"]
    assert ESCAPE not in done.output


def test_each_choice_of_images_has_a_file(run: Run) -> None:
    answers = Answers(run)

    def numbers(*arguments: str) -> list[int]:
        return [image["index"] for image in document(*arguments)["images"]]

    assert numbers("--which=misclassified") == answers.index[answers.wrong[:3]].tolist()
    correct, other = (numbers("--which=correct", f"--seed={seed}") for seed in (0, 1))
    assert set(correct) | set(other) <= set(answers.index[answers.right].tolist())
    assert correct != other
    two = np.sort(answers.probabilities, axis=1)[:, -2:]
    closest = np.argsort(two[:, 1] - two[:, 0], kind="stable")[:3]
    assert numbers("--which=uncertain") == answers.index[closest].tolist()
    assert len(set(numbers("--which=all"))) == 3
    document("--which=correct", "--split=val", "--target=predicted", "--method=hirescam", "--smooth=aug")
    assert {path.name for path in run.path.glob("gradcam*")} == {
        "gradcam.png",
        "gradcam-correct.png",
        "gradcam-uncertain.png",
        "gradcam-all.png",
        "gradcam-val-correct-hirescam-aug-predicted.png",
    }


def test_numbers_of_misclassified_csv_choose_images(run: Run) -> None:
    invoke("misclassified")
    with (run.path / "misclassified.csv").open(encoding="utf-8-sig", newline="") as table:
        rows = list(csv.DictReader(table))[:9:4]
    told = document("--index", ",".join(row["index"] for row in rows))
    for row, image in zip(rows, told["images"], strict=True):
        assert (str(image["index"]), image["true"], image["predicted"]) == (row["index"], row["true"], row["predicted"])
        assert image["probabilities"][row["predicted"]] == pytest.approx(float(row["confidence"]), abs=1e-4)
    assert (run.path / f"gradcam-index-{rows[0]['index']}-and-2-more.png").is_file()
    trained_on = next(number for number in range(1797) if number not in Answers(run).index)
    assert "--index" in the_error(invoke("gradcam", f"--index={trained_on}", code=2))


def test_the_document_agrees_with_the_predictions(run: Run) -> None:
    told = as_json("gradcam", "--n=3", "--layer=layer2")
    answers, result = Answers(run), told["result"]
    names = ("gradcam-layer2.png", "predictions-test.npz")
    assert (told["schema"], told["run"]) == (SCHEMA, "runs/mine")
    assert told["files"] == [f"runs/mine/{name}" for name in names]
    assert (result["method"], result["layer"], result["map_size"], result["count"]) == ("gradcam", "layer2", [2, 2], 3)
    assert result["faithfulness"]["count"] == 3
    for image, row in zip(result["images"], answers.wrong[:3], strict=True):
        assert image["index"] == answers.index[row]
        assert list(image["probabilities"].values()) == pytest.approx(answers.probabilities[row].tolist(), abs=1e-6)
        assert image["predicted"] == max(image["probabilities"], key=image["probabilities"].get)
        assert [(heat["of"], heat["class"]) for heat in image["maps"]] == [
            (target, image[target]) for target in ("predicted", "true")
        ]
        for heat in image["maps"]:
            assert heat["empty"] == (heat["peak"] is None) == (heat["maximum"] is None)
            assert heat["empty"] or (set(heat["peak"]) <= {2.0, 6.0} and heat["maximum"] > 0)  # middles of 2x2 cells


def test_the_saved_maps_are_those_of_the_core(run: Run) -> None:
    done = invoke("gradcam", "--n=3", "--method=hirescam", "--layer=layer2", "--smooth=aug", "--save-maps")
    names = ["runs/mine/gradcam-hirescam-layer2-aug.png", "runs/mine/gradcam-hirescam-layer2-aug-maps.npz"]
    assert named_files(done.stdout)[:2] == names
    answers = Answers(run)
    rows = answers.wrong[:3]
    opened = trained_run.TrainedRun(run, run.checkpoints / artifacts.BEST, torch.device("cpu"))
    with np.load(names[1], allow_pickle=False) as arrays:
        assert arrays["index"].tolist() == answers.index[rows].tolist()
        images = digits.load(8).images[arrays["index"]]
        assert np.array_equal(arrays["images"], images.transpose(0, 2, 3, 1))
        assert arrays["targets"].tolist() == np.stack([answers.predicted[rows], answers.labels[rows]], 1).tolist()
        asked = cam.CamOptions(method=CamMethod("hirescam"), layer="layer2", smooth=Smoothing("aug"))
        maps = cam.maps(opened.classifier, images, arrays["targets"], answers.logits[rows], asked, Listener())
        assert np.array_equal(arrays["maps"], maps)


@pytest.mark.parametrize(("layer", "words"), [("layer2", "only 2x2 cells"), ("layer3", "a single cell")])
def test_coarse_maps_are_warned_of(run: Run, layer: str, words: str) -> None:
    done = invoke("gradcam", "-n", "2", f"--layer={layer}")
    (note,) = [line for line in done.stderr.splitlines() if line.startswith(f"Warning: {layer} has ")]
    assert words in note
    assert "use an earlier --layer" in note


# Maps that show nothing


def changed_checkpoint(run: Run, bias: float) -> Path:
    """A checkpoint of the run in which there is no evidence for a 3, and `bias` is added to its logit."""
    state = torch.load(run.checkpoints / artifacts.BEST, weights_only=True)
    weights = state["state_dict"]
    weights["network.linear.weight"][3] = -weights["network.linear.weight"][3].abs() - 0.01
    weights["network.linear.bias"][3] += bias
    for name, tensor in weights.items():  # whatever layer2 sees, layer3 then sees more of it, and it is no 3
        if name.startswith("network.layer3.") and name.endswith("weight"):
            tensor.abs_()
    path = run.path.parent.parent / "odd.ckpt"
    torch.save(state, path)
    return path


@pytest.mark.parametrize("count", [2, 7])
def test_empty_maps_are_named_unless_many(run: Run, count: int) -> None:
    file = changed_checkpoint(run, 0)
    answers = Answers(run)
    threes = answers.index[answers.labels == 3][:count]
    index = f"--index={','.join(map(str, threes))}"
    done = invoke("gradcam", index, f"--checkpoint={file}", "--target=true", "--layer=layer2", "--json")
    for image in json.loads(done.stdout)["result"]["images"]:
        (heat,) = image["maps"]
        assert image["predicted"] != "3"
        assert (heat["class"], heat["empty"], heat["peak"], heat["maximum"]) == ("3", True, None, None)
    named = [line for line in done.stderr.splitlines() if line.startswith("Note: Image")]
    assert len(named) == min(count, 5)
    for number, line in zip(threes, named, strict=False):
        assert line.startswith(f"Note: Image {number} has no map for 3: no evidence for it at layer2")
    assert ("Note: And 2 more." in done.stderr) == (count == 7)


def test_an_empty_map_of_both_classes_is_named_once(run: Run) -> None:
    file = changed_checkpoint(run, 1000)
    answers = Answers(run)
    three, four = (answers.index[answers.labels == digit][0] for digit in (3, 4))
    done = invoke("gradcam", f"--index={three},{four}", f"--checkpoint={file}", "--layer=layer2", "--json")
    first, other = json.loads(done.stdout)["result"]["images"]
    assert [heat["class"] for heat in first["maps"] + other["maps"]] == ["3", "3", "3", "4"]
    assert done.stderr.count(f"Image {three} has no map for 3") == 1
    assert done.stderr.count(f"Image {four} has no map for 3") == 1


@pytest.mark.parametrize("wrong", [0, 2])
def test_fewer_images_than_asked_for_are_noted(run: Run, tmp_path: Path, wrong: int) -> None:
    answers = Answers(run)
    for row in (*answers.wrong[:wrong], *answers.right[:5]):
        number = answers.index[row]
        write_digit(tmp_path / "easy" / str(answers.labels[row]) / f"{number}.png", number)
    done = invoke("gradcam", f"--n={wrong + 1}", "--data=easy", "--layer=layer2", "--json")
    sentence = f"Note: There are only {wrong} images to draw (--n is {wrong + 1})."
    if not wrong:
        sentence = "Note: There are no such images, so the figure is empty."
    assert sentence in done.stderr.splitlines()
    told = json.loads(done.stdout)
    with Image.open(told["files"][0]) as image:
        image.load()
    assert len(told["result"]["images"]) == told["result"]["count"] == wrong
    assert (told["result"]["faithfulness"] is None) == (wrong == 0)


# A person's own images


def test_own_images_are_classified_like_the_data(run: Run, tmp_path: Path) -> None:
    answers = Answers(run)
    numbers = answers.index[answers.wrong[:3]].tolist()
    paths = [str(write_digit(tmp_path / "own" / f"{number}.png", number)) for number in numbers]
    own = document("--layer=layer1", "--image", *paths)
    known = document("--layer=layer1", "--target=predicted", "--index", ",".join(map(str, numbers)))
    assert [image["file"] for image in own["images"]] == paths
    for image, same in zip(own["images"], known["images"], strict=True):
        assert (image["index"], image["true"]) == (None, None)
        assert image["predicted"] == same["predicted"]
        assert image["probabilities"] == pytest.approx(same["probabilities"], abs=1e-5)
        assert [heat["of"] for heat in image["maps"]] == ["predicted"]
        assert image["maps"][0]["peak"] == same["maps"][0]["peak"]


def test_own_images_name_the_figure(run: Run, tmp_path: Path) -> None:
    for folder, number in (("a", 0), ("b", 1)):
        for name in ("photo.png", "other.png"):
            write_digit(tmp_path / folder / name, number)

    def overwritten(name: str, *arguments: str) -> bool:
        done = invoke("gradcam", "--layer=layer1", *arguments)
        assert named_files(done.stdout)[0] == name
        return f"Note: Overwriting {name}; use --out to keep both." in done.stderr

    one, two = (f"runs/mine/gradcam-image-photo{more}-layer1.png" for more in ("", "-and-1-more"))
    assert not overwritten(one, "a/photo.png")
    assert not overwritten(two, "a/photo.png", "a/other.png")
    assert not overwritten(two, "a/photo.png", "a/other.png")
    assert overwritten(two, "b/photo.png", "b/other.png")
    for _ in range(2):
        assert not overwritten("x.png", "a/photo.png", "--out", "x.png")
    first, second, third = Answers(run).index[:3]
    three = f"runs/mine/gradcam-index-{first}-and-1-more-layer1.png"
    assert not overwritten(three, f"--index={first},{second}")
    assert overwritten(three, f"--index={first},{third}")


def test_own_images_are_drawn_in_their_resolution(run: Run, tmp_path: Path) -> None:
    write_digit(tmp_path / "small.png", 0)
    with Image.open(tmp_path / "small.png") as small:
        small.resize((1300, 700)).save(tmp_path / "large.png")
    widths = []
    for name in ("small.png", "large.png"):
        invoke("gradcam", "--layer=layer1", f"--image={name}", f"--out={name}-map.png")
        with Image.open(tmp_path / f"{name}-map.png") as figure:
            widths.append(figure.width)
    assert widths[1] > 2 * widths[0]  # 700 pixels a side, not the network's 8 enlarged to 224


def test_own_images_may_be_given_in_three_ways(run: Run, tmp_path: Path) -> None:
    answers = Answers(run)
    names = ["a.png", "b.png", "c.png"]
    for name, number in zip(names, answers.index, strict=False):
        write_digit(tmp_path / name, number)
    for arguments in ([f"--image={name}" for name in names], ["--image", *names], names):
        done = invoke("gradcam", *arguments, "--layer=layer2")
        for name, shares in zip(names, answers.probabilities, strict=False):
            said = ", ".join(f"{place} {shares[place]:.1%}" for place in np.argsort(-shares)[:3])
            assert re.search(rf"^\s*{name}\s+{re.escape(said)}$", done.stdout, re.M)
        assert done.stderr.splitlines()[0] == "classifying: 3 images"


def test_an_unreadable_image_is_named_and_nothing_written(run: Run, tmp_path: Path) -> None:
    write_digit(tmp_path / "good.png", 0)
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    before = sorted(tmp_path.rglob("*"))
    assert "bad.png" in the_error(invoke("gradcam", "--image", "good.png", "bad.png", "--save-maps", code=1))
    assert sorted(tmp_path.rglob("*")) == before


def test_ctrl_c_leaves_one_line_and_no_file(run: Run, tmp_path: Path) -> None:
    before = files(run.path)
    options = ("--gpus=0", "--which=all", "--n=300", "--save-maps")
    with start(tmp_path, "gradcam", *options) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == "computing heat maps (gradcam): 300 images\n"
        child.send_signal(signal.SIGINT)
        out, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert out == ""
    assert len(said.splitlines()) == 1
    assert files(run.path) == before
