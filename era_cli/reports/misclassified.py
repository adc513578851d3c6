"""Misclassified images, or suspected label errors, in a grid."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from era_cli.reports import sheet, style
from era_cli.reports.image_grid import image_grid
from era_cli.results import Images, Mistakes

PAGE = 5 * sheet.MOST_COLUMNS  # images; with more rows than five their titles are illegible on a slide


def pages(count: int, columns: int | None = None) -> list[slice]:
    """The rows on each page of a grid of `count` images; those of given `columns`, or of no images, have one."""
    count = min(count, sheet.MOST)
    size = PAGE if columns is None else sheet.MOST
    return [slice(first, min(first + size, count)) for first in range(0, max(count, 1), size)]


def mistakes(images: Images, mistakes: Mistakes, about: str, columns: int | None = None, *, first: int = 0) -> Figure:
    """Draws some of `mistakes`, from row `first` on: `images` (N, H, W, 3) under predicted and true class.

    Below these are the confidence and how `era gradcam --index` and the folder call the image.

    Args:
        about: the run and the images that were evaluated, for the header.
    """
    classes, rows = mistakes.classes, range(first, first + len(images))
    note = "suggested / label" if mistakes.suspects else "predicted / true"
    note += ", confidence and index below"
    if mistakes.order is not None:
        note += f"; {mistakes.order.text}"
    if len(rows) < len(mistakes):
        note += f"; {first + 1:,} to {rows.stop:,} of {len(mistakes):,}"
    notes = []
    for row in rows:
        known_as = f"{mistakes.confidence[row]:.1%}, index {mistakes.index[row]}"
        notes.append([known_as] if mistakes.files is None else [known_as, Path(mistakes.files[row]).name])
    return image_grid(
        images,
        [(classes[mistakes.answers[row]], classes[mistakes.labels[row]]) for row in rows],
        _header(mistakes, about),
        header_notes=[note] if rows else [],
        notes=notes,
        columns=columns,
    )


def _header(mistakes: Mistakes, about: str) -> str:
    fraction = f"{mistakes.total:,} of {mistakes.evaluated:,} ({mistakes.total / mistakes.evaluated:.2%})"
    header = f"{about}: {fraction} {'suspected label errors' if mistakes.suspects else 'misclassified'}"
    if mistakes.expected is not None:
        header += (
            f", about {mistakes.expected:,} expected at {mistakes.accuracy:.2%} accuracy if every label were right"
        )
    if mistakes.filter_text:
        header += f"; {len(mistakes):,} {mistakes.filter_text}"
    for name in (mistakes.true, mistakes.predicted):
        header = header if name is None else header.replace(name, style.unbroken(name))
    return header
