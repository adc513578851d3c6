from __future__ import annotations

import itertools
import math
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from era_cli.reports import confusion, style
from era_cli.reports.confusion import confusion_matrix
from tests.reports.support import header, overlap

HOSTILE = ("$\\frac{$", "dog[/]", 'O\'Neil "q"', "x" * 60, "猫" * 5, "собака", "\x1b[31mred\n\x07", "\ud800", "")
COUNTS = np.array([[90, 10, 0], [0, 0, 0], [1, 2, 1]])


def drawn(counts: npt.NDArray[np.int64], classes: tuple[str, ...] | None = None, head: str = "pets-1") -> Figure:
    return confusion_matrix(counts, classes or tuple(f"class {index}" for index in range(len(counts))), head)


def matrix(figure: Figure) -> Axes:
    (axes,) = [axes for axes in figure.axes if axes.get_images()]
    return axes


def texts(figure: Figure) -> dict[tuple[int, int], Text]:
    """The text of each cell by row and column."""
    return {(round(text.get_position()[1]), round(text.get_position()[0])): text for text in matrix(figure).texts}


def several(classes: int, largest: int) -> npt.NDArray[np.int64]:
    """A full diagonal with some confusions; every count has as many digits as `largest`."""
    counts = np.diag(np.full(classes, largest))
    for index in range(classes):
        counts[index, (index + 1) % classes] = largest
    return counts


def test_rows_are_true_and_columns_predicted() -> None:
    figure = drawn(COUNTS, ("cat", "dog", "frog"), "pets-1, 104 test images")
    axes = matrix(figure)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    for axis in (axes.xaxis, axes.yaxis):
        assert [text.get_text() for text in axis.get_ticklabels()] == ["cat", "dog", "frog"]
        assert list(axis.get_ticklocs()) == [0, 1, 2]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first class is on top
    assert axes.get_xlim()[0] < axes.get_xlim()[1]
    assert header(figure) == "pets-1, 104 test images"


def test_very_many_classes_show_no_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confusion, "MOST", 20)
    most, more = drawn(several(20, 9)), drawn(several(50, 9))
    assert np.all(more.get_size_inches() <= most.get_size_inches() + 0.1)
    assert len(texts(most)) == 40
    assert texts(more) == {}
    assert len(matrix(more).get_xticks()) == 17  # every third class is named


def test_each_cell_holds_its_count() -> None:
    shown = {place: text.get_text() for place, text in texts(drawn(COUNTS)).items()}
    assert shown == {(0, 0): "90", (0, 1): "10", (2, 0): "1", (2, 1): "2", (2, 2): "1"}


def test_the_colour_is_the_fraction_of_the_row() -> None:
    (image,) = matrix(drawn(COUNTS)).get_images()
    np.testing.assert_allclose(
        np.asarray(image.get_array()), [[0.9, 0.1, 0.0], [0.0, 0.0, 0.0], [0.25, 0.5, 0.25]], rtol=1e-12
    )
    assert image.get_clim() == (0, 1)
    blank, little = image.to_rgba(np.array([0.0, 0.02]))[:, :3] * 255
    assert np.abs(blank - little).max() > 20  # 2 % can be seen


def test_the_colours_are_explained_in_percent() -> None:
    figure = drawn(COUNTS)
    (bar,) = matrix(figure).child_axes
    assert bar.get_ylabel() == "fraction of true class, square-root scale"
    figure.draw_without_rendering()
    beside, whole = bar.get_window_extent(), matrix(figure).get_window_extent()
    assert (beside.y0, beside.y1) == pytest.approx((whole.y0, whole.y1))
    assert beside.x0 > whole.x1
    assert bar.yaxis.get_major_formatter()(0.5) == "50%"


def luminance(colour: str | npt.NDArray[np.float64]) -> float:
    """Relative luminance of WCAG 2.1."""
    rgb: npt.NDArray[np.float64] = np.array(to_rgb(colour))  # type: ignore[arg-type]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_every_count_is_legible_on_its_colour() -> None:
    counts = np.zeros((21, 21), np.int64)
    for index in range(21):
        counts[index, index], counts[index, (index + 1) % 21] = index * 5, 100 - index * 5
    figure = drawn(counts)
    (image,) = matrix(figure).get_images()
    cells = image.to_rgba(np.asarray(image.get_array()))
    for place, text in texts(figure).items():
        dark, light = sorted((luminance(str(text.get_color())), luminance(cells[place][:3])))
        assert (light + 0.05) / (dark + 0.05) >= 3, text.get_text()  # what WCAG 2.1 asks of graphics


@pytest.mark.parametrize(("classes", "largest"), [(2, 25_000), (10, 5_000), (60, 1_000)])
def test_counts_fit_and_names_do_not_overlap(classes: int, largest: int) -> None:
    figure = drawn(several(classes, largest), tuple(f"large carnivore {index}" for index in range(classes)))
    figure.draw_without_rendering()
    axes = matrix(figure)
    across, down = axes.get_window_extent().width / classes, axes.get_window_extent().height / classes
    assert across == pytest.approx(down)
    for text in texts(figure).values():
        box = text.get_window_extent()
        assert box.width <= across
        assert box.height <= down
    for axis in (axes.xaxis, axes.yaxis):
        names = axis.get_ticklabels()
        for name in names:
            box = name.get_window_extent()
            assert figure.bbox.x0 <= box.x0
            assert figure.bbox.y0 <= box.y0
        turn = math.radians(names[0].get_rotation()) if axis is axes.xaxis else math.pi / 2
        names[0].set_rotation(0)
        box = names[0].get_window_extent()
        assert box.height <= across * math.sin(turn) or box.width <= across


def test_names_do_not_run_into_the_matrix() -> None:
    figure = drawn(several(5, 10), tuple("x" * 60 for _ in range(5)))
    figure.draw_without_rendering()
    axes = matrix(figure)
    below, beside = axes.xaxis.get_ticklabels(), axes.yaxis.get_ticklabels()
    assert all(not overlap(name.get_window_extent(), axes.get_window_extent()) for name in beside)
    assert all(name.get_window_extent().y1 <= axes.get_window_extent().y0 for name in below)
    for name, axis_name in itertools.chain(
        ((name, axes.xaxis.label) for name in below), ((name, axes.yaxis.label) for name in beside)
    ):
        assert not overlap(name.get_window_extent(), axis_name.get_window_extent())


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_matrix_fills_its_figure(classes: int) -> None:
    figure = drawn(several(classes, 100))
    figure.draw_without_rendering()
    box = matrix(figure).get_window_extent()
    assert box.width * box.height > 0.45 * figure.bbox.width * figure.bbox.height


@pytest.mark.parametrize("classes", [2, 10])
def test_the_header_is_not_cut_off(classes: int) -> None:
    figure = drawn(several(classes, 100), head="my-photos-1, 1,000 test images: accuracy 98.89%")
    figure.draw_without_rendering()
    (above,) = figure.texts
    assert above.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_hostile_names_are_written_without_a_warning(suffix: str, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure = drawn(several(len(HOSTILE), 7), HOSTILE, "\x1b[2J$\\frac{$")
        style.save(figure, tmp_path / f"confusion.{suffix}")
    assert [str(warning.message) for warning in caught] == []
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert (tmp_path / f"confusion.{suffix}").read_bytes().startswith(start)


def test_hostile_names_are_shown_without_controls() -> None:
    figure = drawn(several(len(HOSTILE), 7), HOSTILE, "\x1b[2J$x$")
    for axis in (matrix(figure).xaxis, matrix(figure).yaxis):
        shown = [text.get_text() for text in axis.get_ticklabels()]
        assert shown[:3] == list(HOSTILE[:3])
        assert shown[3].endswith("…")
        assert len(shown[3]) < 30
        assert not any(char in name for char in "\x1b\n\x07\ud800" for name in shown)
        assert not any(text.get_parse_math() for text in axis.get_ticklabels())
    assert header(figure) == "\ufffd[2J$x$"
