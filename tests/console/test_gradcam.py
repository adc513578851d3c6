from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from era_cli.console.gradcam import MOST_ROWS, print_heatmaps
from era_cli.console.terminal import SteadyConsole
from era_cli.results import Faithfulness, Heatmaps
from tests.console.test_fit import HOSTILE


def maps(count: int, classes: tuple[str, ...] = ("cat", "dog", "frog", "owl"), **fields: Any) -> Heatmaps:
    """The labels go 0, 1, 2 ... and the answers 1, 2, 3 ..."""
    draw = np.random.default_rng(count)
    labels = np.arange(count) % len(classes)
    probabilities = draw.dirichlet(np.ones(len(classes)), count) / 2
    probabilities[np.arange(count), (labels + 1) % len(classes)] += 0.5
    made = Heatmaps(
        method="gradcam",
        by_class=True,
        layer="layer2",
        smooth="none",
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
    return dataclasses.replace(made, **fields)


def shown(found: Heatmaps, *, width: int = 100, header: tuple[tuple[str, str], ...] = ()) -> str:
    stream = io.StringIO()
    print_heatmaps(SteadyConsole(stream, width=width, force_terminal=False), header, found)
    return stream.getvalue()


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the table."""
    lines = [line.strip() for line in text.splitlines()]
    first = next(place for place, line in enumerate(lines) if line and set(line) == {"─"}) + 1
    return [re.split(r"\s{2,}", line) for line in lines[first:] if line]


def test_each_image_has_a_row_of_what_it_is_and_what_it_was_taken_for() -> None:
    found = maps(3)
    shares = found.probabilities
    assert rows(shown(found)) == [
        ["1000", "cat", f"{shares[0, 0]:.1%}", "dog", f"{shares[0, 1]:.1%}"],
        ["1001", "dog", f"{shares[1, 1]:.1%}", "frog", f"{shares[1, 2]:.1%}"],
        ["1002", "frog", f"{shares[2, 2]:.1%}", "owl", f"{shares[2, 3]:.1%}"],
    ]


def test_images_with_names_are_called_by_them() -> None:
    assert [row[0] for row in rows(shown(maps(2, files=("cat/a.png", "dog/b.png"))))] == ["cat/a.png", "dog/b.png"]


def test_of_a_persons_own_pictures_the_three_likeliest_classes_are_told() -> None:
    probabilities = np.array([[0.1, 0.6, 0.05, 0.25], [0.25, 0.25, 0.25, 0.25]])
    found = maps(2, labels=None, index=None, files=("a.png", "b.png"), probabilities=probabilities)
    text = shown(found)
    assert rows(text) == [
        ["a.png", "dog 60.0%, owl 25.0%, cat 10.0%"],
        ["b.png", "cat 25.0%, dog 25.0%, frog 25.0%"],
    ]
    assert "true" not in text


def test_of_two_classes_two_are_told() -> None:
    found = maps(1, ("cat", "dog"), labels=None, index=None, files=("a.png",), probabilities=np.array([[0.25, 0.75]]))
    assert rows(shown(found)) == [["a.png", "dog 75.0%, cat 25.0%"]]


@pytest.mark.parametrize("role", ["predicted", "true"])
def test_what_the_maps_are_worth_is_one_of_the_facts(role: str) -> None:
    worth = Faithfulness(count=3, share=0.25, hottest=0.314, random=-0.026, moved=0.1)
    text = shown(maps(3, faithfulness=worth, roles=(role,)), width=300, header=(("run", "runs/mine"),))
    assert re.search(r"^run +runs/mine$", text, re.MULTILINE)
    (line,) = re.findall(r"^faithfulness +(.*)$", text, re.MULTILINE)
    assert "hottest 25%" in line
    assert f"the {role} class's probability" in line
    assert re.findall(r"[+-]\d+\.\d", line) == ["-31.4", "+2.6", "-10.0"]  # what is lost is below zero
    assert "faithfulness" not in shown(maps(3))


def test_many_images_are_cut_off_and_the_title_says_so() -> None:
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
    worth = Faithfulness(count=3, share=0.25, hottest=-0.999, random=-0.999, moved=-0.999)
    own: dict[str, Any] = {"labels": None, "index": None, "files": tuple(f"{'photos/' * 12}{name}" for name in HOSTILE)}
    for classes in (HOSTILE, tuple(name * 3 for name in HOSTILE)):
        found = maps(len(HOSTILE), classes, faithfulness=worth, **(own if pictures else {}))
        text = shown(found, width=width, header=(("run", "a-folder-with-a-long-name/" * 4),))
        assert max(map(cell_len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [60, 73, 80])
def test_no_number_is_cut_off_for_the_sake_of_a_long_class_name(width: int) -> None:
    found = maps(4, tuple(f"{name} of the northern countries" for name in ("owl", "cat", "dog", "elk")))
    text = shown(found, width=width)
    for row in range(4):
        numbers = [1000 + row, *(f"{found.probabilities[row, place]:.1%}" for place in (row, (row + 1) % 4))]
        assert re.search(rf"^ *{numbers[0]} .* {numbers[1]} .* {numbers[2]} *$", text, re.MULTILINE)


def test_a_long_file_name_leaves_room_for_the_likeliest_classes() -> None:
    files = tuple(f"photos/of/mine/golden retriever/image_{number:05}.jpg" for number in range(2))
    probabilities = np.array([[0.1, 0.6, 0.05, 0.25], [0.1, 0.6, 0.05, 0.25]])
    text = shown(maps(2, labels=None, index=None, files=files, probabilities=probabilities), width=60)
    assert text.count("dog 60.0%") == 2
