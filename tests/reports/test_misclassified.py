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
    wanted = [f"{1 / (1 + np.exp(place / 1_000 - 2)):.1%}" for place in range(3)]
    assert [over(figure, image)[0].get_text() for image in shown(figure)] == wanted
    for one, image in zip(shown(figure), images, strict=True):
        np.testing.assert_array_equal(np.asarray(one.get_array()), image)
    assert header(figure) == "mine, test images: 4 of 40 (10.00%) misclassified"
    (note,) = lines(figure)[1:]
    assert note.startswith("predicted / true, confidence below")
    assert "3 of 4 shown" in note
    assert "shown" not in lines(report.mistakes(pictures(4), some, "mine"))[1]


def test_suspects_are_titled_suggested_and_label() -> None:
    figure = report.mistakes(pictures(2), mistaken(2, right=2, suspects=True), "mine")
    assert header(figure).startswith("mine: 2 of 4 (50.00%) suspected label errors")
    assert lines(figure)[1].startswith("suggested / label, confidence below")
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


def test_of_too_many_images_the_first_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "MOST", 5)
    images = pictures(9)
    figure = report.mistakes(images, mistaken(1_200), "mine")
    assert len(shown(figure)) == 5
    np.testing.assert_array_equal(np.asarray(shown(figure)[4].get_array()), images[4])
    assert "5 of 1,200 shown" in lines(figure)[1]


def test_hostile_class_names_are_written(tmp_path: Path) -> None:
    figure = report.mistakes(pictures(2), mistaken(2, classes=("$\\frac{$", "\x1b[31m猫" * 20)), "\x1b[2J$x$")
    for suffix in ("png", "svg"):
        style.save(figure, tmp_path / f"x.{suffix}")
    assert header(figure).startswith("\ufffd[2J$x$: 2 of 2")
    assert all(title.endswith(" / $\\frac{$") for title in titles(figure))
