"""Images that flip between two runs, or two groups of runs: right to wrong beside wrong to right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from era_cli.reports import sheet, style
from era_cli.reports.sheet import Sheet
from era_cli.results import Comparison, Flips, Images, Side
from era_cli.text import plural, signed_points

SHAPE = 0.8  # width to height of either half of the figure
HEADING = 40  # pixels above the images of a half
HALF_GAP = 50  # pixels between the halves
FEWEST_COLUMNS = 2  # a heading takes as much room
MOST = sheet.MOST // 2  # images in either half
_MOST_RUNS = 4  # of a side that are named
_ONE_LINE, _STACKED = " → ", " →\n"


def flips(lost: Images, gained: Images, comparison: Comparison, about: str) -> Figure:
    """Draws the first of the images that flip, (N, H, W, 3) each, under the predictions of A and B.

    Args:
        about: the images that were evaluated, for the header.
    """
    halves = [(lost, comparison.lost, "Right → wrong"), (gained, comparison.gained, "Wrong → right")]
    side = sheet.enlarged(lost.shape[1])
    with style.look():
        titles = [_title(each, row, comparison.classes) for images, each, _ in halves for row in range(len(images))]
        widest = style.widest({_ONE_LINE.join(title) for title in titles}, sheet.NAME_SIZE) / style.PIXEL
        stacked = widest > side + sheet.GAP / 2
        notes = [[_notes(each, row, comparison) for row in range(len(images))] for images, each, _ in halves]
        lines = max((len(note) for half in notes for note in half), default=0) + stacked
        across, down = side + sheet.GAP, side + sheet.GAP + sheet.TITLE + lines * sheet.NOTE
        most = max(len(lost), len(gained))
        columns = max(FEWEST_COLUMNS, math.ceil(math.sqrt(most * SHAPE * down / across)))
        rows = max(1, math.ceil(most / columns))
        width = columns * across
        drawing = Sheet(
            2 * width + HALF_GAP + sheet.GAP,
            HEADING + rows * down,
            _header(comparison, about),
            _header_notes(comparison),
            _STACKED if stacked else _ONE_LINE,
        )
        for place, (images, each, name) in enumerate(halves):
            left = sheet.GAP + place * (width + HALF_GAP)
            heading = f"{name}: {plural(len(each), 'image')}"
            if 0 < len(images) < len(each):
                heading += f", {len(images):,} shown"
            drawing.axes.text(left, HEADING - sheet.GAP, heading, fontsize=sheet.HEADER_SIZE, fontweight="bold")
            for row, image in enumerate(images):
                down_by, along = divmod(row, columns)
                top = HEADING + (down_by + 1) * down - side - sheet.GAP
                title = _title(each, row, comparison.classes)
                drawing.image(left + along * across, top, side, image, title, *notes[place][row])
        return drawing.finished()


def _title(flips: Flips, row: int, classes: tuple[str, ...]) -> list[str]:
    return [classes[flips.a_predicted[row]], classes[flips.b_predicted[row]]]


def _notes(flips: Flips, row: int, comparison: Comparison) -> list[str]:
    lines = [f"p(true) {flips.a_true_probability[row]:.1%} → {flips.b_true_probability[row]:.1%}"]
    if comparison.paired is None:
        shares = ((flips.a_right, comparison.a), (flips.b_right, comparison.b))
        counts = [f"{round(right[row] * len(side.runs))}/{len(side.runs)}" for right, side in shares]
        lines.append(f"right {counts[0]} → {counts[1]}")
    lines.append(f"index {flips.index[row]}")
    return lines if flips.files is None else [*lines, Path(flips.files[row]).name]


def _header(comparison: Comparison, about: str) -> str:
    difference = comparison.difference
    header = f"B ({_named(comparison.b)}) against A ({_named(comparison.a)}), {about}:"
    header += f" {signed_points(difference.value, 2)} points"
    if difference.interval is not None:
        low, high = (signed_points(limit, 2) for limit in difference.interval)
        header += f", 95% interval {low} to {high}"
    return header


def _named(side: Side) -> str:
    names: Sequence[str] = [run.name for run in side.runs]
    more = f" and {len(names) - _MOST_RUNS} more" if len(names) > _MOST_RUNS else ""
    return ", ".join(map(style.unbroken, names[:_MOST_RUNS])) + more


def _header_notes(comparison: Comparison) -> list[str]:
    if not len(comparison.lost) and not len(comparison.gained):
        return []
    order = "largest change of the true class's probability first"
    if comparison.paired is not None:
        return [f"predicted by A → predicted by B; {order}"]
    return [f"predicted by most runs of A → by most of B, mean probability, runs that are right; {order}"]
