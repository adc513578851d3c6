from __future__ import annotations

import json

import numpy as np
import pytest

from era_cli import documents
from era_cli.results import Faithfulness, Heatmaps


def heatmaps(
    *, own: bool = False, files: tuple[str, ...] | None = None, faithfulness: Faithfulness | None = None
) -> Heatmaps:
    """Two images of 16x32 pixels with maps of 2x4 cells."""
    maps = np.full((2, 2, 2, 4), -1, np.float32)
    maps[0, 0, 1, 2] = 3
    maps[0, 1, 0, 0] = 0.5
    maps[1, 0] = np.nan
    return Heatmaps(
        method="layercam",
        by_class=True,
        layer="layer1",
        smooth="both",
        classes=("cat", "dog", "frog"),
        images=np.zeros((2, 16, 32, 3), np.uint8),
        index=None if own else np.array([12, 57]),
        files=files,
        labels=None if own else np.array([0, 2]),
        probabilities=np.array([[0.2, 0.7, 0.1], [0.25, 0.25, 0.5]]),
        roles=("predicted", "true"),
        targets=np.array([[1, 0], [2, 2]]),
        maps=maps,
        faithfulness=faithfulness,
    )


def test_each_map_says_of_which_class_it_is_and_where_in_the_image_it_is_hottest() -> None:
    document = documents.heatmaps(heatmaps())
    first, second = document["images"]
    # Cells are 8 pixels wide and 8 high: the third of the second row has its middle at (20, 12).
    assert first["maps"] == [
        {"of": "predicted", "class": "dog", "empty": False, "maximum": 3.0, "peak": [20.0, 12.0]},
        {"of": "true", "class": "cat", "empty": False, "maximum": 0.5, "peak": [4.0, 4.0]},
    ]
    assert second["maps"] == [
        {"of": "predicted", "class": "frog", "empty": True, "maximum": None, "peak": None},
        {"of": "true", "class": "frog", "empty": True, "maximum": None, "peak": None},
    ]


def test_each_image_says_what_it_is_and_what_the_network_says() -> None:
    document = documents.heatmaps(heatmaps())
    known = ["index", "file", "true", "predicted", "probabilities"]
    assert [[image[name] for name in known] for image in document["images"]] == [
        [12, None, "cat", "dog", {"cat": 0.2, "dog": 0.7, "frog": 0.1}],
        [57, None, "frog", "frog", {"cat": 0.25, "dog": 0.25, "frog": 0.5}],
    ]


def test_a_persons_own_pictures_have_a_file_and_no_true_class() -> None:
    images = documents.heatmaps(heatmaps(own=True, files=("a.png", "b.png")))["images"]
    assert [(image["index"], image["file"], image["true"]) for image in images] == [
        (None, "a.png", None),
        (None, "b.png", None),
    ]


def test_the_head_says_how_the_maps_were_made_and_what_they_are_worth() -> None:
    worth = Faithfulness(count=1, share=0.25, hottest=0.5, random=0.125, moved=-0.25)
    document = documents.heatmaps(heatmaps(faithfulness=worth))
    assert {name: document[name] for name in ("method", "layer", "smooth", "map_size", "count")} == {
        "method": "layercam",
        "layer": "layer1",
        "smooth": "both",
        "map_size": [2, 4],
        "count": 2,
    }
    assert document["faithfulness"] == {
        "count": 1,
        "pixels_replaced": 0.25,
        "probability_lost": {"hottest": 0.5, "random": 0.125, "moved": -0.25},
    }
    assert documents.heatmaps(heatmaps())["faithfulness"] is None


@pytest.mark.parametrize("own", [False, True])
def test_it_is_json_without_nan(own: bool) -> None:
    document = documents.heatmaps(heatmaps(own=own, files=("a", "b")))
    assert json.loads(json.dumps(document, allow_nan=False)) == document
