from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image

from era_cli.choices import CamMethod, Smoothing
from era_cli.reports import gradcam, sheet, style
from era_cli.results import Faithfulness, Heatmaps, Images

CLASSES = ("cat", "dog", "frog")
ODD = ("$\\frac{$", "[bold]dog[", "\x1b[31mred")


def maps(count: int = 4, *, side: int = 8, roles: tuple[str, ...] = ("predicted", "true"), **fields: Any) -> Heatmaps:
    """Maps over noise; the labels go 0, 1, 2, 0 ... and the answers 1, 2, 0, 1 ..., so that all are wrong."""
    draw = np.random.default_rng(count)
    labels = np.arange(count) % 3
    probabilities = draw.dirichlet((1, 1, 1), count) / 2
    probabilities[np.arange(count), (labels + 1) % 3] += 0.5
    targets = {"predicted": (labels + 1) % 3, "true": labels}
    example = Heatmaps(
        method=CamMethod.GRADCAM,
        layer="layer2",
        smooth=Smoothing.NONE,
        classes=CLASSES,
        images=draw.integers(0, 256, (count, side, side, 3), np.uint8),
        index=np.arange(count) * 11,
        files=None,
        labels=labels,
        probabilities=probabilities,
        roles=roles,
        targets=np.stack([targets[role] for role in roles], axis=1),
        maps=draw.normal(0, 3, (count, len(roles), 2, 4)).astype(np.float32),
        faithfulness=None,
    )
    return dataclasses.replace(example, **fields)


def drawn(heatmaps: Heatmaps, alpha: float = 0.4, photos: Images | None = None) -> Figure:
    return gradcam.heatmaps(heatmaps, "mine, some images", alpha, photos)


def values(image: AxesImage) -> npt.NDArray[Any]:
    array = image.get_array()
    assert array is not None
    return np.asarray(array)


@dataclass
class Cell:
    """One place on the sheet: the texts over it from top to bottom, those on it, and its images."""

    extent: tuple[float, ...]
    above: list[str]
    on: list[str]
    base: AxesImage | None
    over: AxesImage | None


def cells(figure: Figure) -> list[Cell]:
    """The cells by rows of the sheet, from left to right; one with a remark alone counts as one."""
    axes = figure.axes[0]
    bases = {tuple(image.get_extent()): image for image in axes.images if values(image).ndim == 3}
    overs = {tuple(image.get_extent()): image for image in axes.images if values(image).ndim == 2}
    assert set(overs) <= set(bases)
    assert len(bases) + len(overs) == len(axes.images)  # none lies on another
    left, right, bottom, top = next(iter(bases))
    side = right - left
    extents = set(bases)
    for text in axes.texts:
        x, y = text.get_position()
        if not any(
            left <= x <= right and top - sheet.TITLE - sheet.NOTE <= y <= bottom for left, right, bottom, top in bases
        ):
            extents.add((x - side / 2, x + side / 2, y + side / 2, y - side / 2))
    found = []
    for left, right, bottom, top in sorted(extents, key=lambda extent: (extent[3], extent[0])):
        texts = sorted(
            (text.get_position()[1], text.get_text()) for text in axes.texts if left < text.get_position()[0] < right
        )
        found.append(
            Cell(
                extent=(left, right, bottom, top),
                above=[text for y, text in texts if top - sheet.TITLE - sheet.NOTE <= y < top],
                on=[text for y, text in texts if top <= y <= bottom],
                base=bases.get((left, right, bottom, top)),
                over=overs.get((left, right, bottom, top)),
            )
        )
    return found


def said(figure: Figure) -> list[str]:
    """The header and the lines below it."""
    lines = [
        figure.get_suptitle(),
        *(text.get_text() for text in figure.texts if text.get_text() != figure.get_suptitle()),
    ]
    return [line.replace("\n", " ") for line in lines]  # they break where the figure is narrow


@pytest.mark.parametrize(("roles", "columns"), [(("predicted",), 5), (("predicted", "true"), 2)])
def test_ten_images_fill_their_grid(roles: tuple[str, ...], columns: int) -> None:
    lefts = {cell.extent[0] for cell in cells(drawn(maps(10, side=32, roles=roles)))}
    assert len(lefts) == columns * (1 + len(roles))


def test_each_image_stands_beside_its_maps() -> None:
    heatmaps = maps(1)
    itself, predicted, true = cells(drawn(heatmaps))
    p = heatmaps.probabilities[0]
    assert itself.above == ["index 0", "true: cat"]
    assert predicted.above == ["dog", f"predicted, {p[1]:.1%}"]
    assert true.above == ["cat", f"true, {p[0]:.1%}"]
    assert itself.over is None
    for cell in (itself, predicted, true):
        assert cell.base is not None
        assert np.array_equal(values(cell.base), heatmaps.images[0])
        assert cell.base.get_interpolation() == "nearest"
        assert cell.on == []


@pytest.mark.parametrize("alpha", [0.0, 0.275, 1.0])
def test_a_map_is_scaled_to_its_own_maximum(alpha: float) -> None:
    heatmaps = maps(3)
    figure = drawn(heatmaps, alpha)
    overlays = [image for image in figure.axes[0].images if values(image).ndim == 2]
    assert len(overlays) == 6
    bases = [image for image in figure.axes[0].images if values(image).ndim == 3]
    for place, over in enumerate(overlays):
        raw = heatmaps.maps[place // 2, place % 2]
        assert values(over) == pytest.approx(np.maximum(raw, 0) / raw.max())
        assert over.get_clim() == (0, 1)
        # of those that enlarge smoothly this is one that leaves no peak beside the cell it is in
        assert over.get_interpolation() not in ("nearest", "none", "bicubic")
        (under,) = [base for base in bases if tuple(base.get_extent()) == tuple(over.get_extent())]
        assert np.array_equal(values(under), heatmaps.images[place // 2])
        assert over.get_zorder() >= under.get_zorder()


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("side", [8, 300])
def test_cells_are_whole_multiples_and_apart(count: int, side: int) -> None:
    heatmaps = maps(count, side=side)
    figure = drawn(heatmaps)
    axes = figure.axes[0]
    (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    width, height = figure.get_size_inches() * style.DPI
    assert (high - low, bottom - top) == pytest.approx((width, height))  # counted in pixels of the file
    extents = [cell.extent for cell in cells(figure)]
    assert len(extents) == 3 * count
    for left, right, lower, upper in extents:
        assert (right - left) % side == 0
        assert right - left == lower - upper
        assert low <= left < right <= high
        assert top <= upper < lower <= bottom
    for place, (left, right, lower, upper) in enumerate(extents):
        for other in extents[:place]:
            assert right <= other[0] or other[1] <= left or lower <= other[3] or other[2] <= upper


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_opacity_follows_the_strength_of_the_map(alpha: float) -> None:
    for over in drawn(maps(1), alpha).axes[0].images:
        if values(over).ndim == 2:
            colors = over.get_cmap()(np.linspace(0, 1, 256))
            assert over.get_alpha() is None
            assert colors[:, 3] == pytest.approx(alpha * np.linspace(0, 1, 256))
            assert colors[:, :3] == pytest.approx(mpl.colormaps["inferno"](np.linspace(0, 1, 256))[:, :3])


def test_images_fill_row_after_row() -> None:
    names = [cell.above[0] for cell in cells(drawn(maps(7))) if cell.above[1].startswith("true: ")]
    assert names == [f"index {11 * row}" for row in range(7)]


def test_maps_lie_over_photos_of_their_own_resolution() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (2, 300, 300, 3), np.uint8)
    figure = drawn(maps(2, roles=("predicted",), labels=None, files=("a.png", "b.png")), photos=photos)
    shown = cells(figure)
    for place, cell in enumerate(shown):
        assert cell.base is not None
        assert np.array_equal(values(cell.base), photos[place // 2])
        assert cell.extent[1] - cell.extent[0] == 300
        assert (cell.over is None) == (place % 2 == 0)


@pytest.mark.parametrize("count", [1, 10, 400, 5000])
def test_photos_are_bounded(count: int) -> None:
    example = maps(1, roles=("predicted",))
    many = dataclasses.replace(example, images=example.images.repeat(count, axis=0))
    side = gradcam.photo_side(many)
    assert sheet.CELL <= side <= gradcam.LARGEST
    assert side == sheet.CELL or 2 * count * side**2 <= gradcam.AREA
    assert (side == gradcam.LARGEST) == (count == 1)


@pytest.mark.parametrize(("smooth", "words"), [(Smoothing.NONE, ""), (Smoothing.AUG, ", augmentation smoothing")])
def test_the_header_names_method_and_layer(smooth: Smoothing, words: str) -> None:
    header, *notes = said(drawn(maps(2, smooth=smooth)))
    assert header == f"mine, some images: Grad-CAM at layer2 (4x2){words}"
    assert notes == ["each map is scaled to its own maximum"]


@pytest.mark.parametrize(("cells_high", "cells_wide", "coarse"), [(1, 1, True), (2, 2, True), (2, 3, False)])
def test_coarse_maps_are_remarked_on(cells_high: int, cells_wide: int, coarse: bool) -> None:
    note = said(drawn(maps(1, maps=np.ones((1, 2, cells_high, cells_wide), np.float32))))[1]
    assert ("coarse" in note) == coarse


def test_faithfulness_is_noted() -> None:
    faithfulness = Faithfulness(count=2, share=0.25, hottest=0.314, random=-0.026, moved=0.1)
    _, _, note = said(drawn(maps(2, faithfulness=faithfulness)))
    assert "hottest 25%" in note
    assert "the probability of the predicted class" in note
    assert "-31.4 points" in note  # a loss of 0.314
    assert "+2.6" in note


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_colour_bar_is_as_tall_as_the_rows(count: int) -> None:
    figure = drawn(maps(count))
    figure.draw_without_rendering()
    images, bar = figure.axes
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0", "max"]
    assert bar.get_ylabel() == "evidence for the class"
    box, panels = bar.get_window_extent(), [image.get_window_extent() for image in images.images]
    assert (box.y0, box.y1) == pytest.approx((min(one.y0 for one in panels), max(one.y1 for one in panels)))
    assert max(one.x1 for one in panels) < box.x0 < box.x1 < figure.bbox.x1
    label = bar.yaxis.label.get_window_extent()
    assert figure.bbox.y0 <= label.y0 < label.y1 <= figure.bbox.y1
    assert label.x1 <= figure.bbox.x1


@pytest.mark.parametrize("values_of", [-1.0, 0.0, np.nan, np.inf])
def test_an_empty_map_is_not_overlaid(values_of: float) -> None:
    heatmaps = maps(2)
    heatmaps.maps[1, 0] = values_of
    said_so = [cell for cell in cells(drawn(heatmaps)) if cell.on]
    (empty,) = said_so
    assert empty.on == ["no map"]
    assert empty.over is None
    assert empty.base is not None
    assert empty.above[0] == CLASSES[heatmaps.targets[1, 0]]


def test_a_few_repeated_maps_are_left_blank() -> None:
    heatmaps = maps(3)
    heatmaps.targets[1, 1] = heatmaps.targets[1, 0]
    (same,) = [cell for cell in cells(drawn(heatmaps)) if cell.on]
    assert same.on == ["same class"]
    assert (same.base, same.over) == (None, None)


def test_a_few_wrong_images_have_a_second_block() -> None:
    heatmaps = maps(4)
    heatmaps.targets[[0, 1, 3], 1] = heatmaps.targets[[0, 1, 3], 0]
    shown = cells(drawn(heatmaps))
    assert [cell.above[0] for cell in shown[::2]] == [f"index {number}" for number in (0, 11, 22, 22, 33)]
    assert [cell.above[1].split(",")[0] for cell in shown[1::2]] == ["predicted"] * 3 + ["true", "predicted"]
    assert not any(cell.on for cell in shown)
    for cell, heat in zip(shown[5::2], (heatmaps.scaled[2, 0], heatmaps.scaled[2, 1]), strict=False):
        assert cell.over is not None
        assert np.array_equal(values(cell.over), heat)


def test_a_map_of_the_true_class_alone_says_so() -> None:
    _, heat = cells(drawn(maps(1, roles=("true",))))
    assert heat.above[0] == "cat"
    assert heat.above[1].startswith("true, ")


def test_own_images_have_file_names_and_no_label() -> None:
    files = ("photos/holiday/one.jpg", "two.png")
    heatmaps = maps(2, roles=("predicted",), index=None, labels=None, files=files)
    themselves = [cell.above for cell in cells(drawn(heatmaps)) if cell.over is None]
    assert themselves == [["one.jpg", "center crop"], ["two.png", "center crop"]]


def test_odd_names_are_drawn_without_controls(tmp_path: Path) -> None:
    heatmaps = maps(3, classes=ODD, files=("$x^$.png", "[red].png", "a\x1bb.png"))
    figure = drawn(heatmaps)
    texts = list(figure.axes[0].texts)
    assert not any(text.get_parse_math() for text in texts)
    shown = {text.get_text() for text in texts}
    assert {"$\\frac{$", "[bold]dog[", "\ufffd[31mred", "$x^$.png", "[red].png", "a\ufffdb.png"} <= shown
    style.save(figure, tmp_path / "x.svg")
    assert b"\x1b" not in (tmp_path / "x.svg").read_bytes()


def test_no_images_are_a_header_alone(tmp_path: Path) -> None:
    figure = drawn(maps(0))
    assert said(figure) == ["mine, some images: Grad-CAM at layer2"]
    assert len(figure.axes) == 1
    assert list(figure.axes[0].images) == []
    style.save(figure, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        picture.load()


def test_of_too_many_images_the_first_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "MOST", 11)
    heatmaps = maps(5)
    figure = drawn(heatmaps)
    assert len(cells(figure)) == 9  # three images of three cells each
    assert said(figure)[1] == "each map is scaled to its own maximum; 3 of 5 images shown"
