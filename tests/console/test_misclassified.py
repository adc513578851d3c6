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
from tests.console.support import HOSTILE, rows

Counts = dict[tuple[int, int], int]


def mistaken(
    counts: Counts, *, right: int = 0, classes: tuple[str, ...] = (), suspects: bool = False, named: bool = False
) -> Mistakes:
    """Where `counts` images of a class (first) are taken for another (second), and `right` are not."""
    pairs = [pair for pair, count in counts.items() for _ in range(count)] + [(0, 0)] * right
    labels, answers = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    names = classes or tuple(f"c{place}" for place in range(1 + max(max(pair) for pair in pairs)))
    evaluation = Evaluation(
        index=np.arange(len(pairs)) * 3 + 100,
        labels=labels,
        logits=np.eye(len(names), dtype=np.float32)[answers] * 3,
        classes=names,
    )
    files = tuple(f"{names[label]}/{place}.png" for place, label in enumerate(labels)) if named else None
    # In sets this small the thresholds would differ: what the network predicts is what is suggested.
    return mistakes.ordered(dataclasses.replace(mistakes.wrong(evaluation, files), suspects=suspects), "index")


def shown(some: Mistakes, *, width: int = 100, header: tuple[tuple[str, str], ...] = ()) -> str:
    stream = io.StringIO()
    print_mistakes(SteadyConsole(stream, width=width, force_terminal=False), header, some)
    return stream.getvalue()


def test_the_headline_counts_the_misclassified() -> None:
    text = shown(mistaken({(0, 1): 30, (1, 0): 10}, right=1_960), header=(("run", "runs/digits-1"),))
    assert re.search(r"^run +runs/digits-1$", text, re.MULTILINE)
    assert re.search(r"^misclassified +40 of 2,000 \(2\.00%\)$", text, re.MULTILINE)
    assert "of these" not in text
    assert "label" not in text


def test_pairs_are_listed_up_to_half_of_the_mistakes() -> None:
    text = shown(mistaken({(0, 1): 3, (1, 2): 5, (2, 0): 4, (2, 1): 2, (0, 2): 4}))
    assert rows(text, "2 of 5 pairs make up 50.0%") == [["c1", "c2", "5", "27.8%"], ["c0", "c2", "4", "22.2%"]]


def test_of_very_many_pairs_twelve_are_listed() -> None:
    cells = [(one, other) for one in range(9) for other in range(9) if one != other]
    text = shown(mistaken({cell: 100 - place for place, cell in enumerate(cells)}))
    total = sum(100 - place for place in range(72))
    assert f"12 of 72 pairs make up {sum(100 - place for place in range(12)) / total:.1%}" in text
    assert [row[2] for row in rows(text, "pairs make up")] == [str(100 - place) for place in range(12)]


@pytest.mark.parametrize("suspects", [False, True])
def test_without_a_mistake_the_headline_is_all(suspects: bool) -> None:
    text = shown(mistaken({(0, 1): 0}, right=3, classes=("c0", "c1"), suspects=suspects))
    assert text.splitlines() == [f"{'suspected label errors' if suspects else 'misclassified'}  0 of 3 (0.00%)"]


@pytest.mark.parametrize(
    ("true", "predicted", "suspects", "says"),
    [
        ("c1", None, False, "4 of class c1"),
        (None, "c2", False, "5 predicted as c2"),
        ("c1", "c2", False, "3 of class c1 predicted as c2"),
        ("c1", None, True, "4 labeled c1"),
        (None, "c2", True, "5 suggested c2"),
        ("c1", "c2", True, "3 labeled c1, suggested c2"),
        ("c2", None, False, "0 of class c2"),
    ],
)
def test_a_filter_by_class_is_named(true: str | None, predicted: str | None, suspects: bool, says: str) -> None:
    every = mistaken({(0, 2): 2, (1, 2): 3, (1, 0): 1}, right=4, suspects=suspects)
    text = shown(mistakes.of_classes(every, true, predicted))
    assert re.search(rf"^of these +{says}$", text, re.MULTILINE)
    assert re.search(
        rf"^{'suspected label errors' if suspects else 'misclassified'} +6 of 10 \(60\.00%\)$", text, re.MULTILINE
    )


# Suspects


def test_suspects_are_listed_with_label_and_suggestion() -> None:
    some = mistaken({(0, 1): 1, (1, 2): 1}, classes=("cat", "dog", "frog"), suspects=True)
    text = shown(some)
    p = np.exp(3) / (np.exp(3) + 2)
    low = 1 / (np.exp(3) + 2)
    assert rows(text, "All images") == [
        ["100", "cat", "dog", f"{low:.2%}", f"{p:.2%}"],
        ["103", "dog", "frog", f"{low:.2%}", f"{p:.2%}"],
    ]
    assert rows(text, "1 of 2 pairs makes up 50.0%") == [["cat", "dog", "1", "50.0%"]]
    assert "predicted" not in text
    assert "every label" not in text
    told = {expected: " ".join(shown(dataclasses.replace(some, expected=expected)).split()) for expected in (1, 7)}
    assert "about 1 expected at 0.00% accuracy" in told[1]
    assert "no evidence" not in told[1]
    assert "about 7 expected at 0.00% accuracy, so the number is no evidence of label errors" in told[7]


def test_a_single_pair_is_the_only_one() -> None:
    assert rows(shown(mistaken({(0, 1): 2}, classes=("cat", "dog"))), "The only pair makes up 100.0%") == [
        ["cat", "dog", "2", "100.0%"]
    ]


def test_the_misclassified_are_listed_true_before_predicted() -> None:
    text = shown(mistaken({(0, 1): 1}, classes=("cat", "dog")))
    p = np.exp(3) / (np.exp(3) + 1)
    assert rows(text, "All images") == [["100", "cat", "dog", f"{1 - p:.2%}", f"{p:.2%}"]]


@pytest.mark.parametrize("suspects", [False, True])
def test_of_many_images_the_first_ten_are_listed(suspects: bool) -> None:
    some = mistaken({(0, 1): 11}, suspects=suspects)
    text = shown(some)
    assert [row[0] for row in rows(text, "First 10 images")] == [str(100 + 3 * place) for place in range(10)]
    assert len(rows(shown(mistaken({(0, 1): 10}, suspects=suspects)), "All images")) == 10


def test_images_of_a_folder_go_by_index_and_file() -> None:
    some = mistaken({(0, 1): 2}, classes=("cat", "dog"), named=True)
    assert [row[:2] for row in rows(shown(some), "All images")] == [["100", "cat/0.png"], ["103", "cat/1.png"]]
    assert "png" not in shown(some, width=60)


# Names from outside, narrow terminals


LONG = tuple(f"class {'x' * 40} {place}" for place in range(9))


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("suspects", [False, True])
@pytest.mark.parametrize("classes", [HOSTILE, LONG])
def test_every_line_fits_and_no_figure_is_cut(classes: tuple[str, ...], suspects: bool, width: int) -> None:
    counts = {(place, (place + 1) % 9): 1_000 for place in range(9)}
    some = mistakes.ordered(mistaken(counts, classes=classes, suspects=suspects, named=True), "random")
    text = shown(some, width=width, header=(("run", "a/path/" * 15), ("data", "\x1b[2Jdigits\x07")))
    for line in text.splitlines():
        assert cell_len(line) <= width, line
    assert {char for char in text if unicodedata.category(char) in ("Cc", "Cs", "Cf")} <= {"\n"}
    assert "…" not in text
    numbers = [row[-2:] for row in rows(text, "pairs make up") if row[-1].endswith("%")]  # names fold below them
    assert numbers == [["1,000", "11.1%"]] * 5
    if suspects:
        p = np.exp(3) / (np.exp(3) + 8)
        assert len([row for row in rows(text, "First 10 images") if row[-1] == f"{p:.2%}"]) == 10


def test_a_narrow_table_drops_a_number_before_it_folds_names() -> None:
    some = mistaken({(0, 1): 2}, classes=("light-airplane", "automobile"), suspects=True)
    p = np.exp(3) / (np.exp(3) + 1)
    assert rows(shown(some, width=60), "All images")[1] == ["103", "light-airplane", "automobile", f"{p:.2%}"]
    assert rows(shown(some, width=80), "All images")[1][-2:] == [f"{1 - p:.2%}", f"{p:.2%}"]
