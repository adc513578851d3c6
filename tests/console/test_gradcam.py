from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from era_cli.choices import CamMethod, Smoothing
from era_cli.console.gradcam import MOST_ROWS, print_heatmaps
from era_cli.console.terminal import SteadyConsole
from era_cli.results import Faithfulness, Heatmaps
from tests.console.support import HOSTILE


def maps(count: int, classes: tuple[str, ...] = ("cat", "dog", "frog", "owl"), **fields: Any) -> Heatmaps:
    """The labels go 0, 1, 2 ... and the answers 1, 2, 3 ..."""
    draw = np.random.default_rng(count)
    labels = np.arange(count) % len(classes)
    probabilities = draw.dirichlet(np.ones(len(classes)), count) / 2
    probabilities[np.arange(count), (labels + 1) % len(classes)] += 0.5
    example = Heatmaps(
        method=CamMethod.GRADCAM,
        layer="layer2",
        smooth=Smoothing.NONE,
        classes=classes,
        images=np.zeros((count, 8, 8, 3), np.uint8),
        index=np.arange(count) + 1000,
        files=None,
        labels=labels,
        probabilities=probabilities,
        roles=("predicted",),
        targets=probabilities.argmax(axis=1)[:, None],
        maps=np.ones((count, 1, 2, 2), np.float32),
        faithfulness=None,
    )
    return dataclasses.replace(example, **fields)


def shown(heatmaps: Heatmaps, *, width: int = 100, header: tuple[tuple[str, str], ...] = ()) -> str:
    stream = io.StringIO()
    print_heatmaps(SteadyConsole(stream, width=width, force_terminal=False), header, heatmaps)
    return stream.getvalue()


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the table."""
    lines = [line.strip() for line in text.splitlines()]
    first = next(place for place, line in enumerate(lines) if line and set(line) == {"─"}) + 1
    return [re.split(r"\s{2,}", line) for line in lines[first:] if line]


def test_each_image_has_true_and_predicted_class() -> None:
    heatmaps = maps(3)
    p = heatmaps.probabilities
    assert rows(shown(heatmaps)) == [
        ["1000", "cat", f"{p[0, 0]:.1%}", "dog", f"{p[0, 1]:.1%}"],
        ["1001", "dog", f"{p[1, 1]:.1%}", "frog", f"{p[1, 2]:.1%}"],
        ["1002", "frog", f"{p[2, 2]:.1%}", "owl", f"{p[2, 3]:.1%}"],
    ]


def test_files_are_named() -> None:
    assert [row[0] for row in rows(shown(maps(2, files=("cat/a.png", "dog/b.png"))))] == ["cat/a.png", "dog/b.png"]


def test_own_images_list_the_three_most_likely_classes() -> None:
    probabilities = np.array([[0.1, 0.6, 0.05, 0.25], [0.25, 0.25, 0.25, 0.25]])
    heatmaps = maps(2, labels=None, index=None, files=("a.png", "b.png"), probabilities=probabilities)
    text = shown(heatmaps)
    assert rows(text) == [
        ["a.png", "dog 60.0%, owl 25.0%, cat 10.0%"],
        ["b.png", "cat 25.0%, dog 25.0%, frog 25.0%"],
    ]
    assert "true" not in text


@pytest.mark.parametrize("role", ["predicted", "true"])
def test_faithfulness_is_one_of_the_facts(role: str) -> None:
    faithfulness = Faithfulness(count=3, share=0.25, hottest=0.314, random=-0.026, moved=0.1)
    text = shown(maps(3, faithfulness=faithfulness, roles=(role,)), width=300, header=(("run", "runs/mine"),))
    assert re.search(r"^run +runs/mine$", text, re.MULTILINE)
    (line,) = re.findall(r"^faithfulness +(.*)$", text, re.MULTILINE)
    assert "hottest 25%" in line
    assert f"the probability of the {role} class" in line
    assert "shifted mask" in line
    assert re.findall(r"[+-]\d+\.\d", line) == ["-31.4", "+2.6", "-10.0"]  # what is lost is below zero
    assert line.endswith("(mean of 3 images)")
    assert "faithfulness" not in shown(maps(3))


def test_a_narrow_table_drops_probabilities_before_it_folds_names() -> None:
    files = tuple(f"a-folder/a-long-name-of-a-{name}.png" for name in ("cat", "dog"))
    assert [row[0] for row in rows(shown(maps(2, files=files), width=100))] == list(files)
    cells = [row[0] for row in rows(shown(maps(2, files=files), width=60))]
    assert cells == ["a-folder/", "a-long-name-of-a-cat.png", "a-folder/", "a-long-name-of-a-dog.png"]
    assert rows(shown(maps(2, files=files), width=52))[0] == ["a-folder/", "cat", "dog"]


def test_of_many_images_the_first_are_shown() -> None:
    text = shown(maps(MOST_ROWS + 1))
    assert len(rows(text)) == MOST_ROWS
    assert f"The first {MOST_ROWS} of {MOST_ROWS + 1} images" in text
    assert len(rows(shown(maps(MOST_ROWS)))) == MOST_ROWS
    assert "The first" not in shown(maps(MOST_ROWS))


def test_no_images_make_no_table() -> None:
    assert shown(maps(0), header=(("run", "runs/mine"),)).split() == ["run", "runs/mine"]


@pytest.mark.parametrize("pictures", [False, True])
def test_names_from_outside_do_no_harm(pictures: bool) -> None:
    count = len(HOSTILE)
    files = tuple(f"{name}.png" for name in HOSTILE)
    own: dict[str, Any] = {"labels": None, "index": None} if pictures else {}
    text = shown(maps(count, HOSTILE, files=files, **own), width=400)
    assert "\x1b" not in text
    assert "\x07" not in text
    for name in ("dog[/]", "[bold]", "$\\frac{$", "[31mred", "собака"):
        assert f"{name}.png" in text.replace("\ufffd.png", ".png")
        assert text.count(name) >= 2  # as a class, too


@pytest.mark.parametrize("pictures", [False, True])
@pytest.mark.parametrize("width", [60, 72, 73, 100])
def test_no_line_is_wider_than_the_terminal(width: int, pictures: bool) -> None:
    faithfulness = Faithfulness(count=3, share=0.25, hottest=-0.999, random=-0.999, moved=-0.999)
    own: dict[str, Any] = {"labels": None, "index": None, "files": tuple(f"{'photos/' * 12}{name}" for name in HOSTILE)}
    for classes in (HOSTILE, tuple(name * 3 for name in HOSTILE)):
        heatmaps = maps(len(HOSTILE), classes, faithfulness=faithfulness, **(own if pictures else {}))
        text = shown(heatmaps, width=width, header=(("run", "a-folder-with-a-long-name/" * 4),))
        assert max(map(cell_len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [60, 73, 80])
def test_no_number_is_cut_for_a_long_class_name(width: int) -> None:
    heatmaps = maps(4, tuple(f"{name} of the northern countries" for name in ("owl", "cat", "dog", "elk")))
    text = shown(heatmaps, width=width)
    for row in range(4):
        numbers = [1000 + row, *(f"{heatmaps.probabilities[row, place]:.1%}" for place in (row, (row + 1) % 4))]
        assert re.search(rf"^ *{numbers[0]} .* {numbers[1]} .* {numbers[2]} *$", text, re.MULTILINE)
