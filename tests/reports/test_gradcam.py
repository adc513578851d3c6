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

from era_cli.reports import gradcam, sheet, style
from era_cli.results import Faithfulness, Heatmaps

CLASSES = ("cat", "dog", "frog")
ODD = ("$\\frac{$", "[bold]dog[", "\x1b[31mred")


def maps(count: int = 4, *, side: int = 8, roles: tuple[str, ...] = ("predicted", "true"), **fields: Any) -> Heatmaps:
    """Maps over noise; the labels go 0, 1, 2, 0 ... and the answers 1, 2, 0, 1 ..., so that all are wrong."""
    draw = np.random.default_rng(count)
    labels = np.arange(count) % 3
    probabilities = draw.dirichlet((1, 1, 1), count) / 2
    probabilities[np.arange(count), (labels + 1) % 3] += 0.5
    targets = {"predicted": (labels + 1) % 3, "true": labels}
    made = Heatmaps(
        method="gradcam",
        by_class=True,
        layer="layer2",
        smooth="none",
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
    return dataclasses.replace(made, **fields)


def drawn(found: Heatmaps, alpha: float = 0.4) -> Figure:
    figure = gradcam.heatmaps(found, "mine, some images", alpha)
    figure.draw_without_rendering()
    return figure


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
    """The cells by columns of the sheet, from top to bottom; one with a remark alone counts as one."""
    axes = figure.axes[0]
    bases = {tuple(image.get_extent()): image for image in axes.images if values(image).ndim == 3}
    overs = {tuple(image.get_extent()): image for image in axes.images if values(image).ndim == 2}
    assert set(overs) <= set(bases)
    assert len(bases) + len(overs) == len(axes.images)
    left, right, bottom, top = next(iter(bases))
    side = right - left
    extents = set(bases)
    for text in axes.texts:
        x, y = text.get_position()
        if not any(
            left <= x <= right and top - sheet.TITLE - sheet.NOTE <= y <= bottom for left, right, bottom, top in bases
        ):
            extents.add((x - side / 2, x + side / 2, y + side / 2, y - side / 2))
    made = []
    for left, right, bottom, top in sorted(extents, key=lambda extent: (extent[0], extent[3])):
        texts = sorted(
            (text.get_position()[1], text.get_text()) for text in axes.texts if left < text.get_position()[0] < right
        )
        made.append(
            Cell(
                extent=(left, right, bottom, top),
                above=[text for y, text in texts if top - sheet.TITLE - sheet.NOTE <= y < top],
                on=[text for y, text in texts if top <= y <= bottom],
                base=bases.get((left, right, bottom, top)),
                over=overs.get((left, right, bottom, top)),
            )
        )
    return made


def said(figure: Figure) -> list[str]:
    """The header and the lines below it."""
    lines = [
        figure.get_suptitle(),
        *(text.get_text() for text in figure.texts if text.get_text() != figure.get_suptitle()),
    ]
    return [line.replace("\n", " ") for line in lines]  # they break where the figure is narrow


def test_each_image_stands_beside_its_maps_under_what_it_is() -> None:
    found = maps(1)
    itself, predicted, true = cells(drawn(found))
    shares = found.probabilities[0]
    assert itself.above == ["0", "actual: cat"]
    assert predicted.above == ["dog", f"predicted, {shares[1]:.1%}"]
    assert true.above == ["cat", f"true, {shares[0]:.1%}"]
    assert itself.over is None
    for cell in (itself, predicted, true):
        assert cell.base is not None
        assert np.array_equal(values(cell.base), found.images[0])
        assert cell.base.get_interpolation() == "nearest"
        assert cell.on == []


@pytest.mark.parametrize("alpha", [0.0, 0.275, 1.0])
def test_a_map_lies_over_its_image_scaled_to_its_own_maximum(alpha: float) -> None:
    found = maps(3)
    figure = drawn(found, alpha)
    overlays = [image for image in figure.axes[0].images if values(image).ndim == 2]
    assert len(overlays) == 6
    bases = [image for image in figure.axes[0].images if values(image).ndim == 3]
    for place, over in enumerate(overlays):
        raw = found.maps[place // 2, place % 2]
        assert values(over) == pytest.approx(np.maximum(raw, 0) / raw.max())
        assert over.get_alpha() == alpha
        assert over.get_clim() == (0, 1)
        assert over.get_cmap().name == "jet"
        # of those that enlarge smoothly this is one that leaves no peak beside the cell it is in
        assert over.get_interpolation() not in ("nearest", "none", "bicubic")
        (under,) = [base for base in bases if tuple(base.get_extent()) == tuple(over.get_extent())]
        assert np.array_equal(values(under), found.images[place // 2])
        assert over.get_zorder() >= under.get_zorder()


@pytest.mark.parametrize("count", [1, 2, 5, 12])
@pytest.mark.parametrize("side", [8, 32, 300])
def test_cells_are_whole_multiples_of_pixels_on_the_sheet_and_apart(count: int, side: int) -> None:
    found = maps(count, side=side)
    figure = drawn(found)
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


def test_images_go_down_the_columns_in_their_order() -> None:
    found = maps(7)
    names = [
        cell.above[0] for cell in cells(drawn(found)) if len(cell.above) == 2 and cell.above[1].startswith("actual")
    ]
    assert names == [str(11 * row) for row in range(7)]


@pytest.mark.parametrize(
    ("smooth", "words"),
    [
        ("none", "gradcam at layer2 (4x2)"),
        ("aug", "gradcam at layer2 (4x2), augmentation smoothing"),
        ("eigen", "gradcam at layer2 (4x2), eigen smoothing"),
        ("both", "gradcam at layer2 (4x2), augmentation and eigen smoothing"),
    ],
)
def test_the_header_names_method_layer_size_and_scaling(smooth: str, words: str) -> None:
    header, *notes = said(drawn(maps(2, smooth=smooth)))
    assert header == f"mine, some images: {words}"
    assert notes == ["each map is scaled to its own maximum"]


def test_what_the_maps_are_worth_is_noted() -> None:
    worth = Faithfulness(count=2, share=0.25, hottest=0.314, random=-0.026, moved=0.1)
    _, _, note = said(drawn(maps(2, faithfulness=worth)))
    assert "hottest 25%" in note
    assert "the predicted class's probability" in note
    assert "-31.4 points" in note  # a loss of 0.314
    assert "+2.6" in note


def test_the_colour_bar_goes_from_nothing_to_the_maximum() -> None:
    figure = drawn(maps(2))
    _, bar = figure.axes
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0", "max"]
    assert list(bar.get_yticks()) == [0, 1]
    assert bar.get_ylabel() == "speaks for the class"
    box, sheet_box = bar.get_window_extent(), figure.bbox
    assert sheet_box.x0 < box.x0 < box.x1 < sheet_box.x1
    lasts = [image.get_window_extent().x1 for image in figure.axes[0].images]
    assert box.x0 > max(lasts)


@pytest.mark.parametrize("values_of", [-1.0, 0.0, np.nan, np.inf])
def test_an_empty_map_says_so_and_lies_over_nothing(values_of: float) -> None:
    found = maps(2)
    found.maps[1, 0] = values_of
    said_so = [cell for cell in cells(drawn(found)) if cell.on]
    (empty,) = said_so
    assert empty.on == ["no map"]
    assert empty.over is None
    assert empty.base is not None
    assert empty.above[0] == CLASSES[found.targets[1, 0]]


def test_a_class_that_is_true_and_predicted_has_one_map() -> None:
    found = maps(2)
    found.targets[1, 1] = found.targets[1, 0]
    figure = drawn(found)
    (same,) = [cell for cell in cells(figure) if cell.on]
    assert same.on == ["the same class"]
    assert (same.base, same.over) == (None, None)
    assert len([image for image in figure.axes[0].images if values(image).ndim == 2]) == 3


def test_a_method_that_knows_no_classes_names_none() -> None:
    found = maps(1, roles=("predicted",), by_class=False, method="eigencam")
    _, heat = cells(drawn(found))
    assert heat.above == ["any class", "predicted: dog"]


def test_the_true_class_is_not_called_the_predicted_one() -> None:
    _, heat = cells(drawn(maps(1, roles=("true",), by_class=False, method="eigencam")))
    assert heat.above[0] == "any class"
    assert "predicted: cat" not in heat.above  # what is predicted is dog
    _, heat = cells(drawn(maps(1, roles=("true",))))
    assert heat.above[0] == "cat"
    assert heat.above[1].startswith("true, ")


def test_pictures_are_called_by_their_file_names_and_have_no_true_class() -> None:
    files = ("photos/holiday/one.jpg", "two.png")
    found = maps(2, roles=("predicted",), index=None, labels=None, files=files)
    themselves = [cell.above for cell in cells(drawn(found)) if cell.over is None]
    assert themselves == [["one.jpg"], ["two.png"]]


def test_odd_names_are_drawn_as_they_are_but_for_control_characters(tmp_path: Path) -> None:
    found = maps(3, classes=ODD, files=("$x^$.png", "[red].png", "a\x1bb.png"))
    figure = drawn(found)
    texts = list(figure.axes[0].texts)
    assert not any(text.get_parse_math() for text in texts)
    shown = {text.get_text() for text in texts}
    assert {"$\\frac{$", "[bold]dog[", "\ufffd[31mred", "$x^$.png", "[red].png", "a\ufffdb.png"} <= shown
    style.save(figure, tmp_path / "x.svg")
    assert b"\x1b" not in (tmp_path / "x.svg").read_bytes()


def test_no_images_make_a_figure_that_says_of_what(tmp_path: Path) -> None:
    figure = drawn(maps(0))
    assert said(figure) == ["mine, some images: gradcam at layer2"]
    assert len(figure.axes) == 1
    assert list(figure.axes[0].images) == []
    style.save(figure, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        picture.load()


def test_more_than_fit_on_a_sheet_are_cut_off_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "MOST", 11)
    found = maps(5)
    figure = drawn(found)
    assert len(cells(figure)) == 9  # three images of three cells each
    assert said(figure)[1] == "each map is scaled to its own maximum; 3 of 5 images shown"


def test_the_rest_of_the_process_keeps_its_look() -> None:
    before = dict(mpl.rcParams)
    drawn(maps(1))
    assert dict(mpl.rcParams) == before
