from __future__ import annotations

import io
import re
import unicodedata

import numpy as np
import numpy.typing as npt
import pytest
from rich.cells import cell_len
from scipy.stats import binomtest

from era_cli.console.eval import print_evaluation
from era_cli.console.terminal import SteadyConsole
from era_cli.core.evaluation.metrics import measure
from era_cli.results import Evaluation, Metrics
from tests.console.support import HOSTILE, rows


def metrics(confusion: npt.ArrayLike, classes: tuple[str, ...] | None = None) -> Metrics:
    """What is measured where `confusion` counts the answers."""
    counts = np.asarray(confusion)
    true, predicted = (np.repeat(place, counts.ravel()) for place in np.indices(counts.shape).reshape(2, -1))
    return measure(
        Evaluation(
            index=np.arange(len(true)),
            labels=true,
            logits=np.eye(len(counts), dtype=np.float32)[predicted] * 3,
            classes=classes or tuple(f"c{index}" for index in range(len(counts))),
        )
    )


def shown(measured: Metrics, *, width: int = 100, header: tuple[tuple[str, str], ...] = ()) -> str:
    stream = io.StringIO()
    print_evaluation(SteadyConsole(stream, width=width, force_terminal=False), header, measured)
    return stream.getvalue()


# c1 is never right, c3 neither occurs nor is it predicted.
CONFUSION = [[8, 2, 0, 0], [6, 0, 4, 0], [0, 0, 5, 0], [0, 0, 0, 0]]


def test_classes_are_listed_worst_first() -> None:
    assert rows(shown(metrics(CONFUSION)), "worst first") == [
        ["c1", "0.00%", "0.00%", "0.00%", "10"],
        ["c0", "57.14%", "80.00%", "66.67%", "10"],  # 8 of 14, 8 of 10
        ["c2", "55.56%", "100.00%", "71.43%", "5"],  # 5 of 9, 5 of 5
        ["c3", "-", "-", "-", "0"],
    ]


def test_the_headline_has_facts_and_metrics() -> None:
    text = shown(metrics(CONFUSION), header=(("run", "runs/digits-1"), ("data", "digits: 25 test images")))
    assert re.search(r"^run +runs/digits-1$", text, re.MULTILINE)
    assert re.search(r"^data +digits: 25 test images$", text, re.MULTILINE)
    interval = binomtest(13, 25).proportion_ci(method="wilson")
    assert re.search(
        rf"^accuracy +52\.00% \(13 of 25\), 95% interval {interval.low:.2%} to {interval.high:.2%}$",
        text,
        re.MULTILINE,
    )
    assert re.search(r"^macro F1 +46\.03%$", text, re.MULTILINE)  # the mean of 0, 2/3 and 5/7
    # every logit row is a 3 and three 0s
    right, wrong = (-np.log(np.exp(logit) / (np.exp(3) + 3)) for logit in (3, 0))
    assert re.search(rf"^loss +{(13 * right + 12 * wrong) / 25:.4f}$", text, re.MULTILINE)
    confidence = np.exp(3) / (np.exp(3) + 3)
    assert re.search(rf"^calibration error +{confidence - 0.52:.2%}, overconfident: accuracy", text, re.MULTILINE)
    assert "top-5" not in text


def test_top_5_is_shown_for_many_classes() -> None:
    perfect = shown(metrics(np.eye(6, dtype=int)))
    assert re.search(r"^top-5 accuracy +100\.00%$", perfect, re.MULTILINE)
    assert "confused" not in perfect


def test_the_five_most_confused_pairs_are_listed() -> None:
    text = shown(metrics(CONFUSION))
    assert rows(text, "Most confused") == [
        ["c1", "c0", "6", "60.00%"],
        ["c1", "c2", "4", "40.00%"],
        ["c0", "c1", "2", "20.00%"],
    ]
    many = np.full((4, 4), 1) + np.arange(16).reshape(4, 4)
    assert [row[2] for row in rows(shown(metrics(many)), "Most confused")] == ["15", "14", "13", "12", "10"]


def test_of_many_classes_twenty_are_shown() -> None:
    def confusion(classes: int) -> npt.NDArray[np.int64]:
        """The class c`index` has `index` hits and 30 misses, all of them the next class."""
        counts = np.diag(np.arange(classes))
        counts[np.arange(classes), (np.arange(classes) + 1) % classes] += 30
        return counts

    twenty = shown(metrics(confusion(20)))
    assert len(rows(twenty, "Classes, worst first")) == 20
    text = shown(metrics(confusion(25)))
    assert "Classes, worst first" not in text
    assert [row[0] for row in rows(text, "20 worst of 25 classes")] == [f"c{index}" for index in range(20)]


@pytest.mark.parametrize("classes", [HOSTILE, tuple(f"class {'x' * 40} {index}" for index in range(30))])
def test_lines_fit_in_60_columns_uncut(classes: tuple[str, ...]) -> None:
    count = len(classes)
    confusion = np.full((count, count), 10) + np.diag(np.full(count, 1_000))
    facts = (("run", "a/path/" * 15), ("checkpoint", "\x1b[2Jbest\x07"))
    text = shown(metrics(confusion, classes), width=60, header=facts)
    for line in text.splitlines():
        assert cell_len(line) <= 60, line
    assert {char for char in text if unicodedata.category(char) in ("Cc", "Cs", "Cf")} <= {"\n"}
    images = 1_000 + count * 10
    assert "…" not in text  # names are folded
    numbers = [row[-4:] for row in rows(text, "classes" if count > 20 else "worst first") if row[-1] == f"{images:,}"]
    assert numbers == [[f"{1_010 / images:.2%}"] * 3 + [f"{images:,}"]] * min(count, 20)
    numbers = [row[-2:] for row in rows(text, "Most confused") if row[-1].endswith("%")]
    assert numbers == [["10", f"{10 / images:.2%}"]] * 5
