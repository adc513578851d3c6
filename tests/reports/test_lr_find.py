from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from era_cli.reports import style
from era_cli.reports.lr_find import lr_curve
from era_cli.results import LrSuggestion, LrSweep
from tests.reports.support import header, overlap

RATES = np.geomspace(1e-5, 10, 61)
DECADES = np.log10(RATES)
FALLING = 2.3 - 1.3 / (1 + np.exp(-(DECADES + 2) / 0.3))
SUGGESTIONS = (
    LrSuggestion(rule="steepest", lr=0.0123456, spread=(0.01, 0.02)),
    LrSuggestion(rule="valley", lr=0.00456789, spread=(0.003, 0.006)),
    LrSuggestion(rule="minimum / 10", lr=0.0789, spread=(0.05, 0.09)),
)


def sweep(losses: Any = FALLING, *, smoothed: Any = None, suggested: bool = True) -> LrSweep:
    curves = np.atleast_2d(np.asarray(losses, float))
    suggestions = SUGGESTIONS if suggested else ()
    return LrSweep(
        rates=RATES[: curves.shape[1]],
        losses=curves,
        smoothed=curves.mean(axis=0) if smoothed is None else smoothed,
        seeds=tuple(range(len(curves))),
        stops=(None,) * len(curves),
        suggestions=suggestions,
        recommended=SUGGESTIONS[1] if suggested else None,
        reason="it is the second" if suggested else "",
        verdict="" if suggested else "the loss never fell",
    )


def drawn(sweep: LrSweep) -> Axes:
    figure = lr_curve(sweep, "what was swept")
    with style.look():
        figure.draw_without_rendering()
    (axes,) = figure.axes
    return axes


def named(axes: Axes, start: str) -> Line2D:
    (line,) = [line for line in axes.get_lines() if str(line.get_label()).startswith(start)]
    return line


def legend(figure: Figure) -> list[str]:
    (shown,) = figure.legends
    return [text.get_text() for text in shown.get_texts()]


def test_the_learning_rate_axis_is_logarithmic() -> None:
    axes = drawn(sweep())
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("learning rate", "training loss", "log")
    low, high = axes.get_xlim()
    shown = {tick.get_text(): place for tick, place in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)}
    within = {text: place for text, place in shown.items() if low <= place <= high}
    assert list(within) == ["10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "10⁰", "10¹"]
    assert list(within.values()) == pytest.approx(np.geomspace(1e-5, 10, 7))


def test_raw_and_smoothed_losses_are_drawn() -> None:
    smoothed = FALLING + 0.01
    axes = drawn(sweep(smoothed=smoothed))
    for name, losses in (("raw", FALLING), ("smoothed", smoothed)):
        np.testing.assert_array_equal(named(axes, name).get_xdata(), RATES)
        np.testing.assert_array_equal(named(axes, name).get_ydata(), losses)


def test_seeds_share_one_legend_entry() -> None:
    figure = lr_curve(sweep([FALLING, FALLING + 0.1, FALLING + 0.2]), "three")
    (axes,) = figure.axes
    whole = [np.asarray(line.get_ydata()) for line in axes.get_lines() if len(np.asarray(line.get_ydata())) == 61]
    assert [float(losses[0] - FALLING[0]) for losses in whole] == pytest.approx([0.0, 0.1, 0.2, 0.1])
    assert legend(figure)[:2] == ["raw, each seed", "mean of 3 seeds, smoothed"]


def test_each_suggestion_has_a_line_and_value() -> None:
    axes = drawn(sweep())
    lines = [named(axes, suggestion.rule) for suggestion in SUGGESTIONS]
    for line, suggestion in zip(lines, SUGGESTIONS, strict=True):
        assert np.asarray(line.get_xdata()).tolist() == [suggestion.lr] * 2
    assert legend(lr_curve(sweep(), ""))[2:] == [
        "steepest: 0.0123",
        "valley: 0.00457 (recommended)",
        "minimum / 10: 0.0789",
        "minimum: 0.789",
    ]
    assert [line.get_linestyle() for line in lines] == ["--", "-", "--"]
    assert len({line.get_color() for line in lines}) == 3


def test_markers_lie_on_the_smoothed_curve() -> None:
    straight = 2.0 - 0.2 * DECADES  # where interpolation has one answer
    axes = drawn(sweep(straight))
    markers = [line for line in axes.get_lines() if line.get_marker() == "o"]
    places = [(float(np.ravel(line.get_xdata())[0]), float(np.ravel(line.get_ydata())[0])) for line in markers]
    minimum = 10 * SUGGESTIONS[-1].lr
    assert [rate for rate, _ in places] == [*(suggestion.lr for suggestion in SUGGESTIONS), minimum]
    assert [loss for _, loss in places] == pytest.approx([2.0 - 0.2 * np.log10(rate) for rate, _ in places])


@pytest.mark.parametrize("seeds", [1, 2])
def test_several_seeds_shade_the_spread(seeds: int) -> None:
    axes = drawn(sweep([FALLING] * seeds))
    spans = [(patch.get_extents().x0, patch.get_extents().x1) for patch in axes.patches]
    pixels = [tuple(axes.transData.transform([(rate, 1.0) for rate in s.spread])[:, 0]) for s in SUGGESTIONS]
    assert np.ravel(spans) == pytest.approx(np.ravel(pixels) if seeds > 1 else [])


def test_a_divergence_does_not_flatten_the_rest() -> None:
    diverged = np.where(DECADES > 0, 1e6, FALLING)
    low, high = drawn(sweep(diverged)).get_ylim()
    assert low < FALLING.min()
    assert high > FALLING.max()
    assert (FALLING.max() - FALLING.min()) / (high - low) > 0.3


def test_without_divergence_every_loss_is_visible() -> None:
    noisy = FALLING + 0.05 * np.random.default_rng(0).normal(size=len(RATES))
    axes = drawn(sweep(noisy))
    assert axes.get_ylim()[0] < noisy.min() < noisy.max() < axes.get_ylim()[1]
    assert axes.get_xlim()[0] <= RATES[0] < RATES[-1] <= axes.get_xlim()[1]


TAIL = np.where(DECADES > -0.5, np.nan, FALLING)


@pytest.mark.parametrize(
    "swept",
    [
        sweep(TAIL),
        sweep([TAIL, FALLING], smoothed=TAIL),
        sweep(np.full(61, 2.3), suggested=False),
        sweep(np.full(61, np.nan), suggested=False),
        sweep(FALLING[:2], suggested=False),
    ],
    ids=["NaN tail", "one stopped", "all equal", "all NaN", "two steps"],
)
def test_every_sweep_can_be_drawn_and_written(swept: LrSweep, tmp_path: Path) -> None:
    figure = lr_curve(swept, "any")
    style.save(figure, tmp_path / "any.png")
    with Image.open(tmp_path / "any.png") as written:
        assert written.width > written.height
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert np.isfinite([low, high]).all()
    assert low < high
    first = swept.losses[0, 0]
    assert np.isnan(first) or low < first < high
    assert len(legend(figure)) == 2 + len(swept.suggestions) + bool(swept.suggestions)  # and the minimum


def test_a_header_is_plain_text() -> None:
    assert header(lr_curve(sweep(), "$x$\x1b\n")) == "$x$\ufffd\ufffd"


def test_the_legend_lies_outside_the_axes() -> None:
    figure = lr_curve(sweep([FALLING, FALLING + 0.1]), "two seeds")
    figure.draw_without_rendering()
    (axes,), (shown,) = figure.axes, figure.legends
    whole = axes.get_tightbbox()
    assert whole is not None
    assert not overlap(shown.get_window_extent(), whole)
