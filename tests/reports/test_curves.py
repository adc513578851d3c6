from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from era_cli.reports import style
from era_cli.reports.curves import curves
from era_cli.results import Curves
from tests.reports.support import STEPS, header, overlap, row, run, stopped, unvalidated


def panel(figure: Figure, title: str) -> Axes:
    (axes,) = [axes for axes in figure.axes if axes.get_title(loc="left").startswith(title)]
    return axes


def points(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def lines(axes: Axes, linestyle: str) -> list[Line2D]:
    return [line for line in axes.get_lines() if line.get_linestyle() == linestyle]


def rings(figure: Figure) -> list[Line2D]:
    return [line for line in panel(figure, "Accuracy").get_lines() if line.get_markerfacecolor() == "none"]


def entries(figure: Figure) -> dict[str, Line2D]:
    """What each legend entry says, and the line beside it."""
    found: dict[str, Line2D] = {}
    within = [legend for axes in figure.axes if (legend := axes.get_legend()) is not None]
    for legend in [*figure.legends, *within]:
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            assert isinstance(handle, Line2D)
            assert text.get_text() not in found
            found[text.get_text()] = handle
    return found


def entry(figure: Figure, start: str) -> tuple[str, Line2D]:
    ((text, line),) = [(text, line) for text, line in entries(figure).items() if text.startswith(start)]
    return text, line


def colour(line: Line2D) -> str:
    return to_hex(line.get_color())


@pytest.mark.parametrize("epochs", [1, 24])
def test_the_lines_are_the_rows(epochs: int) -> None:
    one = run(epochs)
    figure = curves([one])
    for title, training, validation in (("Loss", "train_loss", "val_loss"), ("Accuracy", "train_acc", "val_acc")):
        (dashed,), (solid,) = (lines(panel(figure, title), look) for look in ("--", "-"))
        assert points(dashed) == [(row.epoch, getattr(row, training)) for row in one.epochs]
        assert points(solid) == [(row.epoch, getattr(row, validation)) for row in one.epochs]
        assert colour(dashed) != colour(solid)
    assert panel(figure, "Accuracy").yaxis.get_major_formatter()(0.25) in ("25%", "25.0%")
    (rate,) = panel(figure, "Learning rate").get_lines()
    np.testing.assert_allclose(points(rate), [((step + 1) / STEPS, lr) for step, lr in enumerate(one.rates)])


@pytest.mark.parametrize("epochs", [1, 24, 300])
def test_epochs_have_whole_numbers_and_room(epochs: int) -> None:
    figure = curves([run(epochs)])
    panels = [panel(figure, title) for title in ("Loss", "Accuracy", "Learning rate")]
    for axes in panels:
        assert axes.get_xlabel() == "epoch"
        low, high = axes.get_xlim()
        assert low == 0
        assert epochs < high
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) for tick in ticks)
    figure.draw_without_rendering()
    loss, _, rate = (axes.get_window_extent() for axes in panels)
    assert (rate.x0, rate.x1) == pytest.approx((loss.x0, loss.x1))


def test_an_epoch_of_huge_loss_makes_the_axis_logarithmic() -> None:
    huge = run(6, epochs=(row(1, val_loss=3_500.0), *(row(epoch) for epoch in range(2, 7))))
    axes = panel(curves([huge, run(3, name="b")]), "Loss (logarithmic)")
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    formatter = axes.yaxis.get_major_formatter()
    ticks = [formatter(tick, None) for tick in axes.get_yticks() if low <= tick <= high]
    assert ticks == ["1", "10", "100", "1000"]
    for usual in (run(24), run(1), unvalidated(3)):
        assert panel(curves([usual]), "Loss").get_yscale() == "linear"


def test_the_legend_names_only_what_is_there() -> None:
    assert [text.split()[0] for text in entries(curves([unvalidated(3)]))] == ["training"]
    (training, validation, _) = entries(curves([run(1)])).values()
    assert {training.get_linestyle(), validation.get_linestyle()} == {"None"}  # one epoch is a dot


@pytest.mark.parametrize(("epochs", "dotted"), [(1, True), (24, True), (300, False)])
def test_few_epochs_have_a_dot_each(epochs: int, dotted: bool) -> None:
    figure = curves([run(epochs)])
    for title in ("Loss", "Accuracy"):
        axes = panel(figure, title)
        assert [line.get_marker() == "o" for line in lines(axes, "--") + lines(axes, "-")] == [dotted, dotted]


def test_the_best_epoch_is_ringed_and_named() -> None:
    figure = curves([run(7, ringed=4)])
    (ring,) = rings(figure)
    (solid,) = lines(panel(figure, "Accuracy"), "-")
    assert points(ring) == [(4, 1 - 0.7 / 4)]
    assert colour(ring) == colour(solid)
    assert header(figure) == "digits-1: best epoch 4, validation 82.50%"
    assert entry(figure, "best epoch")[1].get_markerfacecolor() == "none"


def test_the_test_accuracy_is_a_star_at_the_best_epoch() -> None:
    tested, untested = (panel(curves([run(7, ringed=4, test_acc=acc)]), "Accuracy") for acc in (0.8, None))
    (star,) = [line for line in tested.get_lines() if is_star(line)]
    assert points(star) == [(4, 0.8)]
    assert not any(is_star(line) for line in untested.get_lines())


def is_star(line: Line2D) -> bool:
    return line.get_marker() == "*"


def test_the_test_accuracy_is_named() -> None:
    assert "test" not in header(curves([run(3)]))
    assert header(curves([run(3, test_acc=0.98765)])).endswith(", test 98.77%")


def test_without_validation_there_is_no_ring() -> None:
    figure = curves([unvalidated(3)])
    assert rings(figure) == []
    assert header(figure) == "digits-1: last epoch (no validation split)"
    for title in ("Loss", "Accuracy"):
        (dashed,) = lines(panel(figure, title), "--")
        assert [x for x, _ in points(dashed)] == [1, 2, 3]
        assert [points(line) for line in lines(panel(figure, title), "-")] in ([], [[]])


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_an_unfinished_run_says_how_far_it_came(status: str) -> None:
    one = run(3, status=status, planned_epochs=24, rates=np.full(17, 0.1))
    alone, beside = header(curves([one])), entry(curves([one, run(2, name="b")]), "digits-1")[0]
    for text in (alone, beside):
        assert status in text
        assert "3 of 24 epochs" in text
    (rate,) = panel(curves([one]), "Learning rate").get_lines()
    assert points(rate)[-1][0] == pytest.approx(17 / STEPS)  # the steps of the epoch in progress, too


def test_each_of_several_runs_has_one_colour() -> None:
    several = [run(4, name="a", ringed=2), stopped(3, 9, name="b"), unvalidated(2, name="c", test_acc=0.5)]
    figure = curves(several)
    assert header(figure) == "a, b and c: highest validation accuracy 76.67%"
    seen = set()
    for place, (one, said) in enumerate(
        zip(
            several,
            ("best epoch 2, validation 65.00%", "best epoch 3, validation 76.67%", "no validation"),
            strict=True,
        )
    ):
        text, line = entry(figure, f"{one.name}: ")
        assert said in text
        own = [lines(panel(figure, title), "--")[place] for title in ("Loss", "Accuracy")]
        own.append(panel(figure, "Learning rate").get_lines()[place])
        assert [x for x, _ in points(own[0])] == [row.epoch for row in one.epochs]
        assert {colour(part) for part in own} == {colour(line)}
        seen.add(colour(line))
    assert len(seen) == 3
    assert [(colour(ring), points(ring)[0][0]) for ring in rings(figure)] == [
        (colour(entry(figure, "a: ")[1]), 2),
        (colour(entry(figure, "b: ")[1]), 3),
    ]
    assert "test 50.00%" in entry(figure, "c: ")[0]
    assert "3 of 9 epochs" in entry(figure, "b: ")[0]


def test_a_title_names_the_first_of_many_runs() -> None:
    several = [unvalidated(2, name=f"run-{index}") for index in range(9)]
    assert header(curves(several)) == "run-0, run-1, run-2 and 6 more runs"
    assert header(curves(several[:4])) == "run-0, run-1, run-2 and 1 more run"


@pytest.mark.parametrize("count", [6, 15])
def test_many_runs_have_distinct_colours(count: int) -> None:
    figure = curves([run(2, name=f"run-{index}") for index in range(count)])
    assert len({colour(line) for line in panel(figure, "Learning rate").get_lines()}) == count
    assert len({colour(line) for text, line in entries(figure).items() if text.startswith("run-")}) == count


def test_the_baseline_is_a_line_with_a_label() -> None:
    assert not any(text.startswith("baseline") for text in entries(curves([run(3)])))
    figure = curves([run(3)], baseline=0.9311)
    (line,) = lines(panel(figure, "Accuracy"), ":")
    assert set(np.asarray(line.get_ydata()).tolist()) == {0.9311}
    text, beside = entry(figure, "baseline")
    assert text == "baseline 93.11%"
    assert (beside.get_linestyle(), colour(beside)) == (":", colour(line))
    low, high = panel(figure, "Accuracy").get_ylim()
    assert low < 0.9311 < high


def test_a_run_without_an_epoch_beside_another() -> None:
    figure = curves([stopped(0, 24, name="a", rates=np.full(1, 0.1)), run(2, name="b")])
    assert "0 of 24 epochs" in entry(figure, "a: ")[0]
    assert "no validation" not in entry(figure, "a: ")[0]


STRANGE = {
    "one epoch": run(1),
    "no step": run(2, rates=np.array([])),
    "nan": run(2, epochs=(row(1, train_loss=math.nan, val_loss=math.inf), row(2))),
    "all nan": run(1, epochs=(row(1, train_loss=math.nan, val_loss=math.nan),)),
    "not validated": unvalidated(1),
    "no epoch": stopped(0, 2, rates=np.array([])),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_values_have_finite_limits(kind: str) -> None:
    figure = curves([STRANGE[kind]])
    figure.draw_without_rendering()
    for axes in figure.axes:
        for low, high in (axes.get_xlim(), axes.get_ylim()):
            assert math.isfinite(low)
            assert math.isfinite(high)
            assert low < high


HOSTILE = ("$\\frac{$", "dog[/]", "a\"b'c", "x" * 60, "猫" * 20, "собака", "\x1b[31mred\n\x07", "_hidden", "\ud800")


def test_hostile_run_names_cause_no_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure = curves([run(2, name=name) for name in HOSTILE])
        style.save(figure, tmp_path / "curves.png")
        style.save(curves([run(2, name="\x1b[31m$\\frac{$")]), tmp_path / "alone.svg")
    assert [str(warning.message) for warning in caught] == []
    named = [text for text in entries(figure) if "best epoch" in text and "," in text]
    assert len(named) == len(HOSTILE)
    assert "$\\frac{$: best" in "\n".join(named)
    assert not any(char in text for char in "\x1b\n\x07" for text in named)
    assert (tmp_path / "alone.svg").stat().st_size


LONG = "cifar10-sgd-nesterov-0.2-wd-5e-4-cutout-8-seed-3"


@pytest.mark.parametrize(
    "several",
    [
        pytest.param([stopped(12, 24, name="x" * 100)], id="one"),
        pytest.param([stopped(3, 24, name=f"{index}-{LONG}") for index in range(7)], id="seven"),
        pytest.param([run(3, name=f"cifar10-{index}", test_acc=0.9) for index in range(40)], id="forty"),
    ],
)
def test_legends_and_header_overlap_nothing(several: list[Curves]) -> None:
    figure = curves(several, baseline=0.9311)
    figure.draw_without_rendering()
    (above,) = figure.texts
    boxes = [legend.get_window_extent() for legend in figure.legends] + [above.get_window_extent()]
    for place, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1
        assert not any(overlap(box, other) for other in boxes[:place])
        for axes in figure.axes:
            whole = axes.get_tightbbox()
            assert whole is not None
            assert not overlap(box, whole)
    for axes in figure.axes:
        assert axes.get_window_extent().height > 80
    *_, key = figure.axes
    legend = key.get_legend()
    assert legend is not None
    box, whole = legend.get_window_extent(), key.get_window_extent()
    assert whole.x0 <= box.x0 < box.x1 <= whole.x1
    assert whole.y0 <= box.y0 < box.y1 <= whole.y1
