from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure
from PIL import Image

from era_cli.reports import sheet, style
from era_cli.reports.image_grid import image_grid
from era_cli.reports.sheet import Sheet, enlarged, full_columns
from era_cli.results import Images

SIDES = [8, 28, 224]


def noise(count: int, side: int) -> Images:
    return np.random.default_rng(side).integers(0, 256, (count, side, side, 3), np.uint8)


def pixels(figure: Figure, folder: Path) -> npt.NDArray[np.uint8]:
    """The figure as it is written, (H, W, 3)."""
    style.save(figure, folder / "x.png")
    with Image.open(folder / "x.png") as picture:
        return np.asarray(picture.convert("RGB"))


def large(image: Images, times: int) -> Images:
    return image.repeat(times, axis=0).repeat(times, axis=1)


def drawn(width: int, height: int, header: str = "header") -> Sheet:
    with style.look():
        return Sheet(width, height, header)


# How large, and how many in a row


@pytest.mark.parametrize("side", [*SIDES, 1, 33, 149, 150, 225, 1000])
def test_enlarged_is_the_closest_whole_multiple(side: int) -> None:
    chosen = enlarged(side)
    assert chosen >= side
    assert chosen % side == 0
    assert abs(chosen - sheet.CELL) == min(abs(side * times - sheet.CELL) for times in range(1, 2 * sheet.CELL))


@pytest.mark.parametrize("cell", [0.7, 0.8, 0.9, 1.0])
def test_usual_counts_leave_no_cell_empty(cell: float) -> None:
    assert full_columns(25, cell, 1.6) == 5
    assert full_columns(50, cell, 1.6) == full_columns(100, cell, 1.6) == 10
    assert [count % full_columns(count, cell, 1.6) for count in (9, 10, 15, 16)] == [0] * 4


@pytest.mark.parametrize("count", [1, 2, 7, 10, 25, 59])
def test_a_grid_is_about_as_wide_as_asked(count: int) -> None:
    columns = full_columns(count, 0.8, 1.6)
    rows = -(-count // columns)
    assert 1 <= columns <= count
    assert columns * (rows - 1) < count
    if count > 7:
        assert 0.5 <= columns * 0.8 / rows / 1.6 <= 2.1
    assert full_columns(count, 0.8, 100) >= columns >= full_columns(count, 0.8, 0.01)


def test_no_images_at_all_have_a_column() -> None:
    assert full_columns(0, 0.8, 1.6) == 1


# Pixel by pixel


@pytest.mark.parametrize("side", SIDES)
def test_every_image_pixel_is_an_equal_square(side: int, tmp_path: Path) -> None:
    images, times = noise(3, side), enlarged(side) // side
    figure = image_grid(
        images, [["cat", "dog"]] * 3, "a header", header_notes=["a note"], notes=[["1%"]] * 3, columns=2
    )
    written = pixels(figure, tmp_path)
    axes = figure.axes[0]
    above = -axes.get_ylim()[1]
    assert written.shape[:2] == (axes.get_ylim()[0] + above, axes.get_xlim()[1])
    for one, image in zip(axes.get_images(), images, strict=True):
        left, right, bottom, top = one.get_extent()
        assert (right - left, bottom - top) == (side * times, side * times)
        assert (left % 1, top % 1) == (0, 0)
        cut = written[round(above + top) : round(above + bottom), round(left) : round(right)]
        np.testing.assert_array_equal(cut, large(image, times))


@pytest.mark.parametrize("width", [301, 997])
@pytest.mark.parametrize("header", ["", "a header that is wider than the narrowest of these sheets"])
def test_images_are_not_interpolated_on_any_sheet(width: int, header: str, tmp_path: Path) -> None:
    image = noise(1, 32)[0]
    drawing = drawn(width, 263, header)
    drawing.image(17, 40, 96, image, ["cat"])
    figure = drawing.finished()
    written = pixels(figure, tmp_path)
    above = round(-drawing.axes.get_ylim()[1])
    assert written.shape[0] == 263 + above
    assert written.shape[1] >= width
    np.testing.assert_array_equal(written[above + 40 : above + 136, 17:113], large(image, 3))


def test_a_wide_header_widens_the_sheet() -> None:
    assert drawn(400, 100, "short").axes.get_xlim() == (0, 400)
    wide = drawn(400, 100, "x" * 100)
    (line,) = wide.figure.texts
    wide.figure.draw_without_rendering()
    assert line.get_window_extent().x0 >= sheet.GAP - 1
    assert line.get_window_extent().x1 <= wide.axes.get_xlim()[1] - sheet.GAP + 1


def test_the_edges_of_a_file_are_white(tmp_path: Path) -> None:
    written = pixels(image_grid(noise(4, 8), [["cat"]] * 4, "four"), tmp_path)
    for edge in (written[:5], written[-5:], written[:, :5], written[:, -5:]):
        assert (edge == 255).all()


# What is laid over images and beside them


def test_an_overlay_covers_just_its_image(tmp_path: Path) -> None:
    image = np.full((8, 8, 3), 255, np.uint8)
    drawing = drawn(400, 300)
    drawing.image(10, 50, 96, image, ["cat"])
    drawing.overlay(10, 50, 96, np.ones((4, 4)), mpl.colormaps["gray_r"])  # 1 is black
    written = pixels(drawing.finished(), tmp_path)
    above = round(-drawing.axes.get_ylim()[1])
    assert (written[above + 50 : above + 146, 10:106] == 0).all()
    written = written.copy()
    written[above + 50 : above + 146, 10:106] = 255
    assert (written[above + 48 :] == 255).all()


def test_the_peak_lies_over_its_cell(tmp_path: Path) -> None:
    heat = np.zeros((4, 4))
    heat[1, 2] = 1
    drawing = drawn(400, 300)
    drawing.image(10, 50, 224, np.zeros((8, 8, 3), np.uint8), ["cat"])
    drawing.overlay(10, 50, 224, heat, mpl.colormaps["gray"])
    written = pixels(drawing.finished(), tmp_path)
    above = round(-drawing.axes.get_ylim()[1])
    cut = written[above + 50 : above + 274, 10:234, 0]
    rows, columns = np.nonzero(cut == cut.max())
    assert cut.max() >= 250
    assert rows.mean() == pytest.approx(1.5 * 56, abs=2)
    assert columns.mean() == pytest.approx(2.5 * 56, abs=2)


def test_small_axes_and_remarks_lie_in_place() -> None:
    drawing = drawn(400, 300)
    small = drawing.small_axes(120, 50, 200, 96)
    drawing.remark(10, 50, 96, "empty")
    figure = drawing.finished()
    figure.set_dpi(style.DPI)
    figure.draw_without_rendering()
    box = small.get_window_extent()
    assert (box.x0, box.x1) == pytest.approx((120, 320))
    assert (300 - box.y1, 300 - box.y0) == pytest.approx((50, 146))
    (text,) = drawing.axes.texts
    extent = text.get_window_extent()
    assert (extent.x0 + extent.x1) / 2 == pytest.approx(58, abs=1)
    assert 300 - (extent.y0 + extent.y1) / 2 == pytest.approx(98, abs=4)


def test_a_long_header_wraps() -> None:
    words = "one header of very many words " * 6
    with style.look():
        sheet_of_words = Sheet(224, 300, words.strip(), ["and a note of as many words " * 6])
        figure = sheet_of_words.finished()
    assert figure.bbox.width <= sheet.NARROWEST + 1
    for text in figure.texts:
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
        assert len(text.get_text().splitlines()) > 1
    low = min(text.get_window_extent().y0 for text in figure.texts)
    assert low >= sheet_of_words.axes.transData.transform((0, 0))[1]  # above what lies below
