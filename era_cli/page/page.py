"""A report as an HTML page that holds everything itself: no request leaves it."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from era_cli import __version__
from era_cli.page import sheets, vector
from era_cli.page.sheets import Sheets
from era_cli.reports import curves, reliability
from era_cli.results import Gallery, ImageGroup, Metrics, Report
from era_cli.text import calibration, file_size, plural, setting, signed_points, without_controls

MOST_CLASSES = 40  # rows and columns of the confusion matrix; with more, those with the most mistakes
MOST_PAIRS = 25  # of classes that are confused
LIKELIEST = 3  # classes whose probability is shown of each image
COLORS = "inferno"  # of heat maps, as in the figure of era gradcam


def render(report: Report, images: Sheets) -> str:
    """The page as HTML, whose `images` are the first ones of its gallery's.

    Names of classes and files come from outside: they are escaped, and the page's own script alone may run.
    """
    script = _asset("report.js")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("era_cli", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters.update(percent=_percent, setting=setting, size=file_size, plural=plural, points=signed_points)
    page: str = environment.get_template("report.html").render(
        report=report,
        version=__version__,
        style=_asset("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_data(report.gallery, report.metrics, images),
        figures=_figures(report),
        calibration=calibration(report.metrics.calibration.direction, report.metrics.calibration.gap),
        bins=_bins(report.metrics),
        classes=_classes(report.metrics),
        cells=_cells(report.metrics),
        most_pairs=MOST_PAIRS,
        faithfulness=_faithfulness(report.gallery),
        samples=None if report.samples is None else sheets.data_address("image/png", report.samples),
    )
    return page


def _asset(name: str) -> Markup:
    return Markup((resources.files("era_cli.page") / name).read_text(encoding="utf-8"))


def _printable(value: Any) -> Any:
    return without_controls(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _percent(fraction: float | None, digits: int = 2) -> str:
    return "-" if fraction is None else f"{fraction:.{digits}%}"


def _figures(report: Report) -> dict[str, Markup]:
    """The figures by name; without epochs there are no curves."""
    drawn = {
        "reliability": vector.svg(
            reliability.reliability_diagram(report.metrics.calibration, None),
            "reliability",
            "Reliability diagram: accuracy by confidence, and how many images have that confidence. The table below has"
            " its values.",
        )
    }
    if report.curves.epochs:
        what = {"loss": "Loss", "accuracy": "Accuracy", "rate": "Learning rate"}
        for name, figure in curves.panels(report.curves).items():
            description = f"{what[name]} over the epochs. The table below has its values."
            drawn[name] = vector.svg(figure, name, description)
    return drawn


def _bins(metrics: Metrics) -> list[dict[str, Any]]:
    """The bins of the reliability diagram that hold an image."""
    measured = metrics.calibration
    edges = np.linspace(0, 1, len(measured.counts) + 1)
    return [
        {
            "low": edges[place],
            "high": edges[place + 1],
            "count": int(measured.counts[place]),
            "confidence": measured.confidence[place],
            "accuracy": measured.accuracy[place],
        }
        for place in np.flatnonzero(measured.counts)
    ]


def _classes(metrics: Metrics) -> list[tuple[int, Any]]:
    """Each class with its number, the lowest F1 first."""
    return sorted(enumerate(metrics.per_class), key=lambda each: (each[1].f1 is None, each[1].f1 or 0.0))


def _cells(metrics: Metrics) -> dict[str, Any]:
    """The confusion matrix: which classes it shows, and of each cell its count and how strongly it is coloured, 0..1.

    A mistake is coloured by its share of the most frequent one, a right answer by its share of the true class.
    """
    counts = metrics.confusion
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    mistakes = wrong.sum(axis=0) + wrong.sum(axis=1)
    shown = np.sort(np.argsort(-mistakes, kind="stable")[:MOST_CLASSES])
    support = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    strength = np.sqrt(wrong / max(1, wrong.max()))
    strength[np.diag_indices(len(counts))] = (counts / support).diagonal()
    return {
        "names": [(int(place), metrics.per_class[place].name) for place in shown],
        "left_out": len(counts) - len(shown),
        "rows": [
            [(int(column), int(counts[row, column]), f"{strength[row, column]:.2f}") for column in shown]
            for row in shown
        ],
    }


def _faithfulness(gallery: Gallery) -> str:
    """What the heat maps are worth, in a sentence; empty where it was not measured."""
    measured = gallery.heatmaps.faithfulness
    if measured is None:
        return ""
    return (
        f"Replacing the hottest {measured.share:.0%} of an image's pixels changes the probability of its"
        f" {gallery.heatmaps.roles[0]} class by {signed_points(-measured.hottest)} points, random pixels by"
        f" {signed_points(-measured.random)} ({measured.averaged})."
    )


def _data(gallery: Gallery, metrics: Metrics, images: Sheets) -> dict[str, Any]:
    """What the script draws, as JSON: columns of one value per image, and raw heat maps as bytes."""
    heatmaps = gallery.heatmaps
    likeliest = np.argsort(-heatmaps.probabilities, axis=1, kind="stable")[:, :LIKELIEST]
    assert heatmaps.labels is not None  # a page is of labelled images
    return {
        "sheets": images.addresses,
        "columns": sheets.COLUMNS,
        "inSheet": sheets.IN_A_SHEET,
        "side": images.side,
        "classes": [without_controls(score.name) for score in metrics.per_class],
        "confusion": metrics.confusion.tolist(),
        "index": None if heatmaps.index is None else heatmaps.index.tolist(),
        "files": None if heatmaps.files is None else [without_controls(file) for file in heatmaps.files],
        "labels": heatmaps.labels.tolist(),
        "predicted": heatmaps.predicted.tolist(),
        "likeliest": likeliest.tolist(),
        "probabilities": _rounded(np.take_along_axis(heatmaps.probabilities, likeliest, axis=1)),
        "own": _rounded(heatmaps.probabilities[np.arange(len(heatmaps)), heatmaps.labels]),
        "losses": _rounded(gallery.losses),
        "margins": _rounded(gallery.margins),
        "roles": heatmaps.roles,
        "maps": _encoded(np.round(255 * heatmaps.scaled)),
        "cells": heatmaps.maps.shape[2:],
        "empty": heatmaps.empty.tolist(),
        "colors": _encoded(np.round(255 * mpl.colormaps[COLORS](np.linspace(0, 1, 256))[:, :3])),
        "groups": [_group(group) for group in gallery.groups],
    }


def _group(group: ImageGroup) -> dict[str, Any]:
    return {
        "name": group.name,
        "title": without_controls(group.title),
        "note": without_controls(group.note),
        "rows": group.rows.tolist(),
        "total": group.total,
        "captions": None if group.captions is None else [without_controls(text) for text in group.captions],
    }


def _rounded(values: npt.NDArray[np.float64]) -> Any:
    return np.round(values, 4).tolist()


def _encoded(values: npt.NDArray[Any]) -> str:
    """Values in 0..255 as base64."""
    return base64.b64encode(values.astype(np.uint8).tobytes()).decode("ascii")
