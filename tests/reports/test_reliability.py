from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from era_cli.reports import style
from era_cli.reports.reliability import reliability_diagram
from era_cli.results import Calibration
from tests.reports.support import header, overlap

NAN = float("nan")
UNEVEN = Calibration(
    counts=np.array([0, 10, 0, 30, 60]),
    confidence=np.array([NAN, 0.3, NAN, 0.7, 0.95]),
    accuracy=np.array([NAN, 0.5, NAN, 0.6, 0.95]),
    error=0.05,
    gap=-0.01,
    direction="calibrated",
)
ONE_IMAGE = Calibration(
    counts=np.array([0] * 14 + [1]),
    confidence=np.array([NAN] * 14 + [1.0]),
    accuracy=np.array([NAN] * 14 + [0.0]),
    error=1.0,
    gap=-1.0,
    direction="overconfident",
)


def panels(figure: Figure) -> tuple[Axes, Axes]:
    above, below = figure.axes
    return above, below


def bars(axes: Axes) -> dict[float, float]:
    """The height of each bar by its middle."""
    found = {}
    for patch in axes.patches:
        assert isinstance(patch, Rectangle)
        found[round(patch.get_x() + patch.get_width() / 2, 9)] = patch.get_height()
    return found


def test_bars_are_the_accuracy_of_filled_bins() -> None:
    above, _ = panels(reliability_diagram(UNEVEN, "digits-1"))
    assert bars(above) == {0.3: 0.5, 0.7: 0.6, 0.9: 0.95}
    assert {round(patch.get_width(), 9) for patch in above.patches if isinstance(patch, Rectangle)} == {0.2}
    assert above.get_ylabel() == "accuracy"


def test_the_gap_spans_from_accuracy_to_confidence() -> None:
    above, _ = panels(reliability_diagram(UNEVEN, "digits-1"))
    (gaps,) = [part for part in above.collections if isinstance(part, LineCollection)]
    spans = [tuple(np.asarray(segment).ravel().tolist()) for segment in gaps.get_segments()]
    assert spans == [(0.3, 0.3, 0.3, 0.5), (0.7, 0.6, 0.7, 0.7), (0.95, 0.95, 0.95, 0.95)]


def test_the_diagonal_is_what_would_be_perfect() -> None:
    above, _ = panels(reliability_diagram(UNEVEN, "digits-1"))
    (diagonal,) = [line for line in above.get_lines() if line.get_label() == "perfectly calibrated"]
    assert np.asarray(diagonal.get_xydata()).tolist() == [[0, 0], [1, 1]]
    assert diagonal.get_linestyle() == "--"
    assert diagonal.get_zorder() > max(patch.get_zorder() for patch in above.patches)  # the bars do not hide it


def test_below_is_the_fraction_of_images_per_bin() -> None:
    _, below = panels(reliability_diagram(UNEVEN, "digits-1"))
    assert bars(below) == pytest.approx({0.1: 0, 0.3: 0.1, 0.5: 0, 0.7: 0.3, 0.9: 0.6})
    assert (below.get_xlabel(), below.get_ylabel()) == ("confidence", "fraction of images")


def test_the_error_and_the_header_are_named() -> None:
    figure = reliability_diagram(UNEVEN, "digits-1, 100 test images\x1b")
    assert panels(figure)[0].get_title(loc="left") == "Well calibrated: accuracy matches confidence"
    assert header(figure) == "digits-1, 100 test images\ufffd: calibration error 5.00%"


def test_a_bin_of_more_images_is_more_opaque() -> None:
    above, _ = panels(reliability_diagram(UNEVEN, "digits-1"))
    opacities = [float(patch.get_alpha() or 0) for patch in above.patches]
    assert opacities == sorted(opacities)
    assert 0.15 < opacities[0] < opacities[1] < opacities[2] == 1


def test_the_legend_explains_diagonal_bars_and_gaps() -> None:
    (legend,) = reliability_diagram(UNEVEN, "digits-1").legends
    assert {text.get_text() for text in legend.get_texts()} == {
        "perfectly calibrated",
        "accuracy (paler: fewer images)",
        "calibration gap",
    }


@pytest.mark.parametrize("calibration", [UNEVEN, ONE_IMAGE])
def test_nothing_overlaps(calibration: Calibration, tmp_path: Path) -> None:
    figure = reliability_diagram(calibration, "cifar10-1, 10,000 test images")
    figure.draw_without_rendering()
    above, below = panels(figure)
    for axes in (above, below):
        assert axes.get_xlim() == (0, 1)
        low, high = axes.get_ylim()
        assert low == 0
        assert high >= max(bars(axes).values())
        assert axes.xaxis.get_major_formatter()(0.5) == axes.yaxis.get_major_formatter()(0.5) == "50%"
    assert above.get_ylim()[1] >= 1
    (legend,), (title,) = figure.legends, figure.texts
    boxes = [part.get_window_extent() for part in (legend, title)]
    for axes in (above, below):
        whole = axes.get_tightbbox()
        assert whole is not None
        assert not any(overlap(box, whole) for box in boxes)
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
    style.save(figure, tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").stat().st_size
