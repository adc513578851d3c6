from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from era_cli.text import (
    SUBSTITUTE,
    calibration,
    one_line,
    plural,
    quoted,
    sample,
    shortened,
    signed_points,
    without_controls,
)


@pytest.mark.parametrize(
    "name", ["dog[/]", "[bold]x", "$x$", 'O\'Neil "q"', "собака", "猫", "🐈", "全角\u3000空白", "می\u200cخواهم"]
)
def test_a_harmless_name_stays(name: str) -> None:
    assert without_controls(name) == name


@given(st.text(st.characters(codec=None), max_size=60))
@example("\x1b[31mred")
@example("\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe")
@example("\ud800")
@example("a\u2028b\u2029c\x85d\n")
def test_controls_and_line_breaks_are_replaced(name: str) -> None:
    shown = without_controls(name)
    assert len(shown) == len(name)
    assert len(shown.splitlines()) <= 1
    assert {char for char in shown if unicodedata.category(char)[0] == "C"} <= {"\u200c", "\u200d"}
    assert all(new in (old, SUBSTITUTE) for old, new in zip(name, shown, strict=True))


def test_a_sentence_is_one_harmless_line() -> None:
    assert one_line("a\r\n  b\n\tc \x1b[31m\x07\n") == f"a b c {SUBSTITUTE}[31m{SUBSTITUTE}"


def test_a_sentence_keeps_paths_and_its_end_and_shortens_what_is_longer() -> None:
    path = "/" + "d" * 4_000
    assert one_line(f"{path} is absent: make it") == f"{path} is absent: make it"
    word = one_line(f"--run is {'x' * 100_000}: name another")
    assert word.startswith("--run is xxx")
    assert word.endswith(" name another")
    assert len(word) < 120
    words = one_line("Error: " + "x " * 50_000 + ": name another")
    assert len(words) <= 5_000
    assert words.endswith(": name another")


def test_a_quoted_value_is_shortened() -> None:
    assert quoted("cat\x07") == r"'cat\x07'"
    assert len(quoted("x" * 100_000)) <= 80
    assert quoted("x" * 100_000).startswith("'xxx")
    assert shortened("0123456789", 7) == "01...89"


@pytest.mark.parametrize(("change", "shown"), [(-0.314, "-31.4"), (0.026, "+2.6"), (0.0, "+0.0"), (-1e-9, "+0.0")])
def test_points_have_their_sign(change: float, shown: str) -> None:
    assert signed_points(change) == shown


def test_counts_agree_with_their_noun() -> None:
    assert [plural(count, "image") for count in (0, 1, 2, 1_000)] == ["0 images", "1 image", "2 images", "1,000 images"]


def test_a_sample_says_of_how_many() -> None:
    assert (sample(1_000, 10_000), sample(10_000, 10_000)) == ("1,000 of 10,000", "10,000")


def test_a_calibration_gap_is_counted_in_points() -> None:
    assert calibration("underconfident", 0.104) == "underconfident: accuracy above confidence by 10 points"
    assert calibration("overconfident", -0.0104) == "overconfident: accuracy below confidence by 1 point"
