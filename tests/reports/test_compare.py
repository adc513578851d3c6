"""The figure of flips, by its artists."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from era_cli.core.compare.compare import compare
from era_cli.reports import compare as report
from era_cli.reports import style
from era_cli.results import Comparison, Images
from tests.console.support import HOSTILE
from tests.core.compare.support import evaluated

LABELS = [0] * 10 + [1] * 10


def comparison(lost: int, gained: int) -> Comparison:
    """Some cats are lost and some dogs gained."""
    a = [0] * 10 + [2] * gained + [1] * (10 - gained)
    b = [2] * lost + [0] * (10 - lost) + [1] * 10
    return compare([evaluated("a", LABELS, a)], [evaluated("b", LABELS, b)])


def images(count: int) -> Images:
    """Images of 8 px, each of one brightness, its number."""
    return np.repeat(np.arange(count, dtype=np.uint8), 8 * 8 * 3).reshape(count, 8, 8, 3)


def drawn(found: Comparison, most: int = 12) -> Figure:
    lost, gained = (images(min(most, len(flips))) for flips in (found.lost, found.gained))
    return report.flips(lost, gained, found, "20 test images")


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_right_to_wrong_is_beside_wrong_to_right() -> None:
    figure = drawn(comparison(5, 2))
    shown = texts(figure)
    assert {"Right → wrong: 5 images", "Wrong → right: 2 images"} <= set(shown)
    assert (shown.count("cat → emu"), shown.count("emu → dog")) == (5, 2)
    assert "p(true) 96.5% → 1.8%" in shown
    assert {f"index {place}" for place in (0, 4, 10, 11)} <= set(shown)
    lefts = [float(image.get_extent()[0]) for image in figure.axes[0].get_images()]
    assert len(lefts) == 7
    assert max(lefts[:5]) < min(lefts[5:])
    assert [int(np.asarray(image.get_array())[0, 0, 0]) for image in figure.axes[0].get_images()] == [
        0,
        1,
        2,
        3,
        4,
        0,
        1,
    ]
    suptitle = figure.get_suptitle()
    assert suptitle.startswith("B (b) against A (a), 20 test images: -15.00 points, 95% interval -")


def test_images_that_are_not_drawn_are_counted() -> None:
    assert "Right → wrong: 9 images, 3 shown" in texts(drawn(comparison(9, 1), most=3))


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (0, 1), (10, 10)])
def test_any_number_of_flips_can_be_drawn(lost: int, gained: int) -> None:
    figure = drawn(comparison(lost, gained))
    assert len(figure.axes[0].get_images()) == lost + gained
    width, height = figure.get_size_inches()
    assert width / height < 6
    headings = [text for text in figure.axes[0].texts if text.get_text().endswith(("images", "image"))]
    left, right = (text.get_window_extent() for text in headings)
    assert left.x1 < right.x0
    assert right.x1 <= figure.bbox.width


def named(found: Comparison, classes: tuple[str, ...]) -> Comparison:
    return dataclasses.replace(found, classes=classes)


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_of_a_class_can_be_drawn(name: str, tmp_path: object) -> None:
    figure = drawn(named(comparison(2, 1), (name, "dog", "emu")))
    with style.look():
        figure.draw_without_rendering()
    assert "\x1b" not in "".join(texts(figure))


def test_groups_say_how_many_runs_are_right() -> None:
    make: Callable[[str, int], list[int]] = lambda name, wrong: [2] * wrong + LABELS[wrong:]  # noqa: E731
    a = [evaluated(f"a-{k}", LABELS, make("a", k)) for k in (0, 1)]
    b = [evaluated(f"b-{k}", LABELS, make("b", k)) for k in (4, 5)]
    shown = texts(drawn(compare(a, b)))
    assert shown.count("right 2/2 → 0/2") == 3
