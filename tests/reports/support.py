"""What several tests of figures share."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from era_cli.reports import sheet
from era_cli.results import Curves, EpochRow, Images


def pictures(count: int, side: int = 8) -> Images:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)


def header(figure: Figure) -> str:
    return str(figure.get_suptitle()).replace("\n", " ")  # it breaks where the figure is narrow


def only_axes(figure: Figure) -> Axes:
    """The axes that all images share."""
    (axes,) = figure.axes
    return axes


def shown(figure: Figure) -> list[AxesImage]:
    return list(only_axes(figure).get_images())


def over(figure: Figure, image: AxesImage) -> list[Text]:
    """The texts above an image, the nearest first."""
    left, right, _, top = image.get_extent()
    texts = [text for text in only_axes(figure).texts if text.get_position()[0] == (left + right) / 2]
    above = [text for text in texts if top - sheet.TITLE - 2 * sheet.NOTE < height(text) < top]
    return sorted(above, key=height, reverse=True)


def height(text: Text) -> float:
    return float(text.get_position()[1])


def titles(figure: Figure) -> list[str]:
    return [over(figure, image)[-1].get_text() for image in shown(figure)]


def box(figure: Figure, image: AxesImage) -> Bbox:
    """Image and texts together, in pixels."""
    return Bbox.union([image.get_window_extent(), *(text.get_window_extent() for text in over(figure, image))])


def overlap(one: Bbox, other: Bbox) -> bool:
    shared = Bbox.intersection(one, other)
    return shared is not None and shared.width > 0.01 and shared.height > 0.01


STEPS = 5  # in an epoch


def row(epoch: int, **changes: Any) -> EpochRow:
    values: dict[str, Any] = {
        "epoch": epoch,
        "train_loss": 2.5 / epoch,
        "train_acc": 1 - 0.8 / epoch,
        "val_loss": 2.25 / epoch,
        "val_acc": 1 - 0.7 / epoch,
        "lr": 0.1,
        "seconds": 12.5,
        "images_per_second": 4000.0,
    }
    return EpochRow(**{**values, **changes})


def run(epochs: int, /, *, name: str = "digits-1", ringed: int | None = None, **changes: Any) -> Curves:
    """A finished run; `ringed` is its best epoch, without it the last."""
    rows = tuple(row(epoch) for epoch in range(1, epochs + 1))
    values: dict[str, Any] = {
        "name": name,
        "status": "finished",
        "planned_epochs": epochs,
        "epochs": rows,
        "best": rows[(ringed or epochs) - 1] if rows else None,
        "rates": np.linspace(0.01, 0.2, epochs * STEPS),
        "steps_per_epoch": STEPS,
        "test_acc": None,
        "test_count": None,
        "test_total": None,
        "left_out": (),
    }
    values.update(changes)
    return Curves(steps=np.arange(1, len(values["rates"]) + 1), **values)


def unvalidated(epochs: int, /, **changes: Any) -> Curves:
    rows = tuple(row(epoch, val_loss=None, val_acc=None) for epoch in range(1, epochs + 1))
    return run(epochs, **{"epochs": rows, "best": rows[-1], **changes})


def stopped(epochs: int, planned: int, /, **changes: Any) -> Curves:
    return run(epochs, **{"status": "interrupted", "planned_epochs": planned, **changes})
