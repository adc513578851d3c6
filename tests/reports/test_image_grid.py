from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from era_cli.reports import image_grid, style
from era_cli.results import Images, Samples


def pictures(count: int, side: int = 8) -> Images:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)


def header(figure: Figure) -> str:
    return str(figure.get_suptitle())


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def box(figure: Figure, axes: Axes) -> Bbox:
    """Image and title together, in pixels."""
    return Bbox.union([axes.get_window_extent(), axes.title.get_window_extent()])


def overlap(one: Bbox, other: Bbox) -> bool:
    shared = Bbox.intersection(one, other)
    return shared is not None and shared.width > 0.01 and shared.height > 0.01


def test_each_image_is_shown_as_it_is_under_its_title() -> None:
    images = pictures(5)
    figure = image_grid.image_grid(images, ["a", "b", "c", "d", "e"], "five", columns=3)
    assert header(figure) == "five"
    assert titles(figure) == ["a", "b", "c", "d", "e"]
    for axes, image in zip(figure.axes, images, strict=True):
        (shown,) = axes.get_images()
        data = shown.get_array()
        assert data is not None
        np.testing.assert_array_equal(data, image)
        assert shown.get_interpolation() == "nearest"
        assert not axes.axison


def test_images_fill_rows_from_left_to_right_and_top_to_bottom() -> None:
    figure = image_grid.image_grid(pictures(5), list("abcde"), "five", columns=3)
    corners = [(axes.get_position().x0, axes.get_position().y0) for axes in figure.axes]
    lefts = [round(x, 6) for x, _ in corners]
    bottoms = [round(y, 6) for _, y in corners]
    assert lefts[0] < lefts[1] < lefts[2]
    assert lefts[3:] == lefts[:2]
    assert len(set(bottoms[:3])) == len(set(bottoms[3:])) == 1
    assert bottoms[0] > bottoms[3]


def test_fewer_images_than_columns_make_a_narrow_figure() -> None:
    narrow = image_grid.image_grid(pictures(2), ["a", "b"], "two")
    wide = image_grid.image_grid(pictures(8), list("abcdefgh"), "eight")
    assert len(narrow.axes) == 2
    assert narrow.get_figwidth() < wide.get_figwidth()
    assert narrow.get_figheight() == wide.get_figheight()


@pytest.mark.parametrize("count", [1, 2, 8, 9, 40])
def test_images_are_square_inside_the_figure_and_apart(count: int) -> None:
    figure = image_grid.image_grid(pictures(count), ["automobile"] * count, "some")
    figure.draw_without_rendering()
    boxes = [box(figure, axes) for axes in figure.axes]
    for axes, own in zip(figure.axes, boxes, strict=True):
        assert axes.get_window_extent().width == pytest.approx(axes.get_window_extent().height)
        assert figure.bbox.x0 <= own.x0
        assert own.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= own.y0
        assert own.y1 <= figure.bbox.y1
    assert not any(overlap(one, other) for place, one in enumerate(boxes) for other in boxes[:place])


def test_the_header_lies_above_the_images() -> None:
    figure = image_grid.image_grid(pictures(8), ["automobile"] * 8, "what these are")
    figure.draw_without_rendering()
    (above,) = [text.get_window_extent() for text in figure.texts]
    assert not any(overlap(above, box(figure, axes)) for axes in figure.axes)
    assert above.y1 <= figure.bbox.y1


@pytest.mark.parametrize("name", ["golden retriever 1", "SCHOOL BUS, YELLOW", "W" * 60])
def test_the_titles_of_neighbours_do_not_overlap(name: str) -> None:
    figure = image_grid.image_grid(pictures(2), [name, name], "two")
    figure.draw_without_rendering()
    left, right = (axes.title.get_window_extent() for axes in figure.axes)
    assert left.x1 < right.x0


def test_the_header_of_a_single_image_is_not_cut_off(tmp_path: Path) -> None:
    samples = Samples(images=pictures(1), labels=np.zeros(1, np.int64), classes=("cat",))
    figure = image_grid.training_samples(samples)
    figure.set_dpi(style.DPI)
    figure.draw_without_rendering()
    (above,) = [text.get_window_extent() for text in figure.texts]
    style.save(figure, tmp_path / "samples.png")
    with Image.open(tmp_path / "samples.png") as written:
        assert written.width >= above.width


def test_long_titles_are_shortened() -> None:
    (title,) = titles(image_grid.image_grid(pictures(1), ["x" * 60], "one"))
    assert title.endswith("…")
    assert len(title) <= style.LONGEST_TITLE


@pytest.mark.parametrize("name", ["$\\frac{$", "$x$"])
def test_a_dollar_is_a_dollar(name: str) -> None:
    figure = image_grid.image_grid(pictures(1), [name], "one")
    (axes,) = figure.axes
    assert axes.get_title() == name
    assert not axes.title.get_parse_math()


def test_control_characters_do_not_reach_a_title() -> None:
    (title,) = titles(image_grid.image_grid(pictures(1), ["a\x1b\n\0b"], "one"))
    assert title == "a\ufffd\ufffd\ufffdb"


def test_as_many_titles_as_images_or_none_is_drawn() -> None:
    with pytest.raises(ValueError, match="zip"):
        image_grid.image_grid(pictures(3), ["a", "b"], "three")


def test_training_samples_are_titled_by_their_classes() -> None:
    samples = Samples(
        images=pictures(3),
        labels=np.array([2, 0, 2]),
        classes=("cat", "dog", "frog"),
        augmentation="random crop, random flip",
    )
    figure = image_grid.training_samples(samples)
    assert titles(figure) == ["frog", "cat", "frog"]
    assert header(figure) == "Training images as the network sees them: random crop, random flip"
