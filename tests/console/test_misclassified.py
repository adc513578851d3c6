from __future__ import annotations

import dataclasses
import io
import re
import unicodedata

import numpy as np
import pytest
from rich.cells import cell_len

from era_cli.console.misclassified import print_mistakes
from era_cli.console.terminal import SteadyConsole
from era_cli.core.evaluation import mistakes
from era_cli.results import Evaluation, Mistakes
from tests.console.test_eval import rows
from tests.console.test_fit import HOSTILE

Counts = dict[tuple[int, int], int]


def found(
    counts: Counts, *, right: int = 0, classes: tuple[str, ...] = (), suspects: bool = False, named: bool = False
) -> Mistakes:
    """Where `counts` images of a class (first) are taken for another (second), and `right` are not."""
    pairs = [pair for pair, count in counts.items() for _ in range(count)] + [(0, 0)] * right
    labels, answers = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    names = classes or tuple(f"c{place}" for place in range(1 + max(max(pair) for pair in pairs)))
    judged = Evaluation(
        index=np.arange(len(pairs)) * 3 + 100,
        labels=labels,
        logits=np.eye(len(names), dtype=np.float32)[answers] * 3,
        classes=names,
    )
    files = tuple(f"{names[label]}/{place}.png" for place, label in enumerate(labels)) if named else None
    # In sets this small the thresholds would say otherwise: what the network says is what is suggested.
    made = dataclasses.replace(mistakes.wrong(judged, files), suspects=suspects)
    return mistakes.ordered(made, "index")


def shown(some: Mistakes, *, width: int = 100, header: tuple[tuple[str, str], ...] = ()) -> str:
    stream = io.StringIO()
    print_mistakes(SteadyConsole(stream, width=width, force_terminal=False), header, some)
    return stream.getvalue()


def test_the_headline_has_the_facts_and_how_many_are_wrong() -> None:
    text = shown(found({(0, 1): 30, (1, 0): 10}, right=1_960), header=(("run", "runs/digits-1"),))
    assert re.search(r"^run +runs/digits-1$", text, re.MULTILINE)
    assert re.search(r"^wrong +40 of 2,000 \(2\.00%\)$", text, re.MULTILINE)
    assert "of these" not in text
    assert "suspects" not in text


def test_pairs_are_listed_until_they_make_up_half_of_the_mistakes() -> None:
    text = shown(found({(0, 1): 3, (1, 2): 5, (2, 0): 4, (2, 1): 2, (0, 2): 4}))
    assert rows(text, "2 of 5 pairs make up 50.0%") == [["c1", "c2", "5", "27.8%"], ["c0", "c2", "4", "22.2%"]]


def test_one_pair_that_makes_up_half_is_enough() -> None:
    text = shown(found({(0, 1): 1, (1, 0): 2, (1, 2): 1}))
    assert rows(text, "1 of 3 pairs make up 50.0%") == [["c1", "c0", "2", "50.0%"]]


@pytest.mark.parametrize("pairs", range(2, 25))
def test_as_many_equal_pairs_are_listed_as_make_up_half_and_twelve_at_most(pairs: int) -> None:
    cells = [(one, other) for one in range(6) for other in range(6) if one != other][:pairs]
    text = shown(found(dict.fromkeys(cells, 7)))
    listed = min((pairs + 1) // 2, 12)
    assert f"{listed} of {pairs} pairs make up {listed / pairs:.1%}" in text
    assert len(rows(text, "pairs make up")) == listed


def test_of_very_many_pairs_twelve_are_listed() -> None:
    cells = [(one, other) for one in range(9) for other in range(9) if one != other]
    text = shown(found({cell: 100 - place for place, cell in enumerate(cells)}))
    total = sum(100 - place for place in range(72))
    assert f"12 of 72 pairs make up {sum(100 - place for place in range(12)) / total:.1%}" in text
    assert [row[2] for row in rows(text, "pairs make up")] == [str(100 - place) for place in range(12)]


def test_counts_in_the_thousands_have_their_comma() -> None:
    assert rows(shown(found({(0, 1): 1_200, (1, 0): 1})), "pairs make up")[0] == ["c0", "c1", "1,200", "99.9%"]


@pytest.mark.parametrize("suspects", [False, True])
def test_without_a_mistake_the_headline_is_all(suspects: bool) -> None:
    text = shown(found({(0, 1): 0}, right=3, classes=("c0", "c1"), suspects=suspects))
    assert text.splitlines() == [f"{'suspects' if suspects else 'wrong'}  0 of 3 (0.00%)"]


@pytest.mark.parametrize(
    ("true", "predicted", "suspects", "says"),
    [
        ("c1", None, False, "4 of c1"),
        (None, "c2", False, "5 taken for c2"),
        ("c1", "c2", False, "3 of c1 taken for c2"),
        ("c1", None, True, "4 labelled c1"),
        (None, "c2", True, "5 rather c2"),
        ("c1", "c2", True, "3 labelled c1, rather c2"),
        ("c2", None, False, "0 of c2"),
    ],
)
def test_the_classes_that_were_asked_for_are_named(
    true: str | None, predicted: str | None, suspects: bool, says: str
) -> None:
    every = found({(0, 2): 2, (1, 2): 3, (1, 0): 1}, right=4, suspects=suspects)
    text = shown(mistakes.of_classes(every, true, predicted))
    assert re.search(rf"^of these +{says}$", text, re.MULTILINE)
    assert re.search(rf"^{'suspects' if suspects else 'wrong'} +6 of 10 \(60\.00%\)$", text, re.MULTILINE)


# Suspects


def test_suspects_are_listed_with_label_and_suggestion() -> None:
    some = found({(0, 1): 1, (1, 2): 1}, classes=("cat", "dog", "frog"), suspects=True)
    text = shown(some)
    p = np.exp(3) / (np.exp(3) + 2)
    low = 1 / (np.exp(3) + 2)
    assert rows(text, "All of them") == [
        ["100", "cat", "dog", f"{low:.2%}", f"{p:.2%}"],
        ["103", "dog", "frog", f"{low:.2%}", f"{p:.2%}"],
    ]
    assert rows(text, "pairs make up") == [["cat", "dog", "1", "50.0%"]]
    assert "predicted" not in text
    assert "All of them" not in shown(found({(0, 1): 1, (1, 0): 1}))


def test_of_many_suspects_the_first_ten_are_listed() -> None:
    some = found({(0, 1): 11}, suspects=True)
    text = shown(some)
    assert [row[0] for row in rows(text, "The first 10")] == [str(100 + 3 * place) for place in range(10)]
    assert len(rows(shown(found({(0, 1): 10}, suspects=True)), "All of them")) == 10


def test_the_listed_suspects_are_those_that_come_first_in_their_order() -> None:
    some = mistakes.ordered(found({(0, 1): 30}, suspects=True), "random", 4)
    assert [row[0] for row in rows(shown(some), "The first 10")] == [str(number) for number in some.index[:10]]


def test_suspects_of_a_folder_go_by_their_files() -> None:
    some = found({(0, 1): 2}, classes=("cat", "dog"), suspects=True, named=True)
    assert [row[0] for row in rows(shown(some), "All of them")] == ["cat/0.png", "cat/1.png"]


# Names from outside, narrow terminals


LONG = tuple(f"class {'x' * 40} {place}" for place in range(9))


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("suspects", [False, True])
@pytest.mark.parametrize("classes", [HOSTILE, LONG])
def test_every_line_fits_and_no_figure_is_cut(classes: tuple[str, ...], suspects: bool, width: int) -> None:
    counts = {(place, (place + 1) % 9): 1_000 for place in range(9)}
    some = mistakes.ordered(found(counts, classes=classes, suspects=suspects, named=True), "random")
    text = shown(some, width=width, header=(("run", "a/path/" * 15), ("data", "\x1b[2Jdigits\x07")))
    for line in text.splitlines():
        assert cell_len(line) <= width, line
    assert {char for char in text if unicodedata.category(char) in ("Cc", "Cs", "Cf")} <= {"\n"}
    assert [row[-2:] for row in rows(text, "pairs make up")] == [["1,000", "11.1%"]] * 5
    if suspects:
        p, low = np.array([np.exp(3), 1]) / (np.exp(3) + 8)
        assert [row[-2:] for row in rows(text, "The first 10")] == [[f"{low:.2%}", f"{p:.2%}"]] * 10


@pytest.mark.parametrize("name", ["dog[/]", "[bold]x", "$\\frac{$", 'O\'Neil "q"', "собака", "猫"])
def test_a_harmless_name_is_shown_as_it_is(name: str) -> None:
    every = found({(0, 1): 2, (1, 0): 1}, classes=(name, "other"), suspects=True, named=True)
    text = shown(mistakes.of_classes(every, name, None))
    assert f"labelled {name}" in text
    assert [row[:3] for row in rows(text, "All of them")] == [
        [f"{name}/{place}.png", name, "other"] for place in (0, 1)
    ]
    assert rows(shown(every), "pairs make up")[0][:2] == [name, "other"]


def test_no_name_reaches_the_terminal_as_a_command() -> None:
    names = ("\x1b[31mred", "\x1b[2Jb\x07")
    every = found({(0, 1): 2, (1, 0): 1}, classes=names, suspects=True, named=True)
    for some in (every, mistakes.of_classes(every, *names)):
        text = shown(some)
        assert not {"\x1b", "\x07"} & set(text)
        assert "\ufffd[31mred" in text
        assert "\ufffd[2Jb\ufffd" in text
