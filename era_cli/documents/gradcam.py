"""Heat maps as a JSON document. Loads no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from era_cli.results import Faithfulness, Heatmaps


def heatmaps(heatmaps: Heatmaps) -> dict[str, Any]:
    """How the maps were computed, their faithfulness, and for each image its probabilities and its maps' peaks."""
    faithfulness, classes = heatmaps.faithfulness, heatmaps.classes
    predicted, empty = heatmaps.predicted, heatmaps.empty
    return {
        "method": heatmaps.method,
        "layer": heatmaps.layer,
        "smooth": heatmaps.smooth,
        "map_size": list(heatmaps.maps.shape[2:]) if len(heatmaps) else None,
        "scaled_to": "the maximum of each map",
        "faithfulness": None if faithfulness is None else _faithfulness(faithfulness),
        "count": len(heatmaps),
        "images": [
            {
                "index": None if heatmaps.index is None else int(heatmaps.index[row]),
                "file": None if heatmaps.files is None else heatmaps.files[row],
                "true": None if heatmaps.labels is None else classes[heatmaps.labels[row]],
                "predicted": classes[predicted[row]],
                "probabilities": dict(zip(classes, heatmaps.probabilities[row].tolist(), strict=True)),
                "maps": _maps(heatmaps, row, empty[row]),
            }
            for row in range(len(heatmaps))
        ],
    }


def _faithfulness(faithfulness: Faithfulness) -> dict[str, Any]:
    """A loss of probability is positive, in fractions of 1."""
    lost = {"hottest": faithfulness.hottest, "random": faithfulness.random, "moved": faithfulness.moved}
    return {"count": faithfulness.count, "pixels_replaced": faithfulness.share, "probability_lost": lost}


def _maps(heatmaps: Heatmaps, row: int, empty: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The maps of one image."""
    maps, size = heatmaps.maps[row], heatmaps.images.shape[1:3]
    return [
        {
            "of": role,
            "class": heatmaps.classes[heatmaps.targets[row, column]],
            "empty": bool(empty[column]),
            "maximum": None if empty[column] else float(maps[column].max()),
            "peak": None if empty[column] else _peak(maps[column], size),
        }
        for column, role in enumerate(heatmaps.roles)
    ]


def _peak(heat: npt.NDArray[np.float32], size: tuple[int, ...]) -> list[float]:
    """x and y of the centre of the hottest cell, in pixels from the upper left of an image of `size` (H, W)."""
    y, x = divmod(int(heat.argmax()), heat.shape[1])
    return [(x + 0.5) * size[1] / heat.shape[1], (y + 0.5) * size[0] / heat.shape[0]]
