from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from era_cli.choices import Order
from era_cli.core.evaluation import mistakes
from era_cli.reports import misclassified as report
from era_cli.reports import sheet, style
from era_cli.results import Evaluation, Mistakes
from tests.reports.support import header, over, pictures, shown, titles


def mistaken(
    count: int, *, right: int = 0, suspects: bool = False, classes: tuple[str, ...] = ("cat", "dog")
) -> Mistakes:
    """Where `count` images of the first class are predicted as the second, with falling confidence."""
    logits = np.zeros((count + right, len(classes)), np.float32)
    logits[:count, 1] = 2 - np.arange(count) / 1_000
    logits[count:, 0] = 1
    total = len(logits)
    evaluation = Evaluation(index=np.arange(total), labels=np.zeros(total, np.int64), logits=logits, classes=classes)
    return mistakes.ordered(dataclasses.replace(mistakes.wrong(evaluation), suspects=suspects), "confidence")


def lines(figure: Figure) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in figure.texts]


def test_mistakes_are_titled_predicted_and_true() -> None:
    some, images = mistaken(4, right=36), pictures(3)
    figure = report.mistakes(images, some, "mine, test images")
    assert titles(figure) == ["dog / cat"] * 3
    wanted = [f"{1 / (1 + np.exp(place / 1_000 - 2)):.1%}, index {place}" for place in range(3)]
    assert [over(figure, image)[0].get_text() for image in shown(figure)] == wanted
    for one, image in zip(shown(figure), images, strict=True):
        np.testing.assert_array_equal(np.asarray(one.get_array()), image)
    assert header(figure) == "mine, test images: 4 of 40 (10.00%) misclassified"
    (note,) = lines(figure)[1:]
    assert note == "predicted / true, confidence and index below; most confident first; 1 to 3 of 4"
    assert " of 4" not in lines(report.mistakes(pictures(4), some, "mine"))[1]


def test_images_of_a_folder_show_their_files() -> None:
    some = dataclasses.replace(mistaken(2), files=("cat/1.png", "cat/2.png"))
    figure = report.mistakes(pictures(2), some, "mine")
    assert [over(figure, image)[0].get_text() for image in shown(figure)] == ["1.png", "2.png"]
    assert over(figure, shown(figure)[0])[1].get_text().endswith(", index 0")


def test_many_images_have_pages_of_fifty(monkeypatch: pytest.MonkeyPatch) -> None:
    assert report.pages(0) == [slice(0, 0)]
    assert report.pages(25) == [slice(0, 25)]
    assert report.pages(120) == [slice(0, 50), slice(50, 100), slice(100, 120)]
    assert report.pages(120, columns=10) == [slice(0, 120)]
    monkeypatch.setattr(sheet, "MOST", 60)
    assert report.pages(120) == [slice(0, 50), slice(50, 60)]
    figure = report.mistakes(pictures(10), mistaken(120), "mine", first=50)
    assert lines(figure)[1].endswith("; 51 to 60 of 120")
    assert over(figure, shown(figure)[0])[0].get_text().endswith(", index 50")


def test_suspects_are_titled_suggested_and_label() -> None:
    some = dataclasses.replace(mistaken(2, right=2, suspects=True), expected=1)
    figure = report.mistakes(pictures(2), some, "mine")
    assert header(figure) == (
        "mine: 2 of 4 (50.00%) suspected label errors, about 1 expected at 50.00% accuracy if every label were right"
    )
    assert lines(figure)[1].startswith("suggested / label, confidence and index below")
    assert titles(figure) == ["dog / cat"] * 2


@pytest.mark.parametrize("order", Order)
def test_the_order_is_named(order: Order) -> None:
    figure = report.mistakes(pictures(2), mistakes.ordered(mistaken(2), order), "mine")
    assert lines(figure)[1].endswith(f"; {order.text}")


def test_a_filter_by_class_is_named() -> None:
    some = mistakes.of_classes(mistaken(3, right=1), "cat", "dog")
    assert header(report.mistakes(pictures(1), some, "mine")).endswith(
        "3 of 4 (75.00%) misclassified; 3 of class cat predicted as dog"
    )
    none = mistakes.of_classes(some, "dog", None)
    assert header(report.mistakes(pictures(0), none, "mine")).endswith("; 0 of class dog")


@pytest.mark.parametrize("columns", [None, 3])
def test_no_mistakes_are_a_header_alone(tmp_path: Path, columns: int | None) -> None:
    figure = report.mistakes(pictures(0), mistaken(0, right=5), "mine", columns)
    assert lines(figure) == ["mine: 0 of 5 (0.00%) misclassified"]
    assert shown(figure) == []
    style.save(figure, tmp_path / "none.png")
    with Image.open(tmp_path / "none.png") as written:
        assert (np.asarray(written.convert("L")) < 128).any()


def test_hostile_class_names_are_written(tmp_path: Path) -> None:
    figure = report.mistakes(pictures(2), mistaken(2, classes=("$\\frac{$", "\x1b[31m猫" * 20)), "\x1b[2J$x$")
    for suffix in ("png", "svg"):
        style.save(figure, tmp_path / f"x.{suffix}")
    assert header(figure).startswith("\ufffd[2J$x$: 2 of 2")
    assert all(title.endswith(" /\n$\\frac{$") for title in titles(figure))


def test_a_header_does_not_break_within_a_class_name() -> None:
    some = mistakes.of_classes(mistaken(3, classes=("great white shark", "grey reef shark")), "great white shark", None)
    shown = report.mistakes(pictures(1), some, "a run of mine with words " * 2).get_suptitle()
    assert "\n" in shown
    assert "great\N{NO-BREAK SPACE}white\N{NO-BREAK SPACE}shark" in shown
