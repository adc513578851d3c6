"""Misclassified images, or suspected label errors, in a grid."""

from __future__ import annotations

from matplotlib.figure import Figure

from era_cli.reports import sheet
from era_cli.reports.image_grid import image_grid
from era_cli.results import Images, Mistakes


def mistakes(images: Images, mistakes: Mistakes, about: str, columns: int | None = None) -> Figure:
    """Draws the first N of `mistakes`, `images` (N, H, W, 3), under predicted and true class and the confidence.

    Args:
        about: the run and the images that were evaluated, for the header.
    """
    images = images[: sheet.MOST]
    count, classes = len(images), mistakes.classes
    fraction = f"{mistakes.total:,} of {mistakes.evaluated:,} ({mistakes.total / mistakes.evaluated:.2%})"
    header = f"{about}: {fraction} {'suspected label errors' if mistakes.suspects else 'misclassified'}"
    if mistakes.filter_text:
        header += f"; {len(mistakes):,} {mistakes.filter_text}"
    note = "suggested / label" if mistakes.suspects else "predicted / true"
    note += ", confidence below"
    if mistakes.order is not None:
        note += f"; {mistakes.order.text}"
    if count < len(mistakes):
        note += f"; {count:,} of {len(mistakes):,} shown"
    titles = [(classes[mistakes.answers[row]], classes[mistakes.labels[row]]) for row in range(count)]
    notes = [f"{confidence:.1%}" for confidence in mistakes.confidence[:count]]
    return image_grid(images, titles, header, header_notes=[note] if count else [], notes=notes, columns=columns)
