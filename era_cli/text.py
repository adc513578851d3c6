"""Text that figures and terminals share. Loads nothing heavy."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

SUBSTITUTE = "\N{REPLACEMENT CHARACTER}"
_JOINERS = "\u200c\u200d"  # between letters of Persian and Indic scripts, and in emoji: harmless
_LINE_BREAKS = ("Zl", "Zp")
_MOST_QUOTED = 80
_MOST_IN_A_WORD = 4_096  # as long as a path may be
_MOST_IN_A_SENTENCE = 5_000


def without_controls(text: str) -> str:
    """The text with control characters, line breaks and unpaired surrogates replaced: names come from outside."""
    if text.isascii() and text.isprintable():  # most are, and a thousand runs have ten thousand
        return text
    return "".join(SUBSTITUTE if _harmful(char) else char for char in text)


def one_line(text: str) -> str:
    """A sentence for the terminal, whatever it quotes: line breaks are spaces, controls replaced, and it is bounded."""
    text = without_controls(" ".join(line.strip() for line in text.strip().splitlines()))
    long_word = rf"\S{{{_MOST_IN_A_WORD + 1},}}"
    return bounded(re.sub(long_word, lambda word: shortened(word[0]), text))


def bounded(line: str) -> str:
    """The line, with its middle left out where it is longer than any path."""
    return shortened(line, _MOST_IN_A_SENTENCE)


def shortened(text: str, most: int = _MOST_QUOTED) -> str:
    """The text, with its middle left out where it is longer than `most` characters."""
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"


def quoted(value: object) -> str:
    """A value from outside in a sentence: in quotes where it is text, and shortened."""
    return shortened(repr(value))


def plural(count: int, noun: str) -> str:
    """The count with its noun: 1 image, 1,000 images, 2 processes."""
    return f"{count:,} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"


def sample(count: int, total: int) -> str:
    """How many there are and, if they are a sample, of how many: 10,000, or 1,000 of 10,000."""
    return f"{count:,}" if count == total else f"{count:,} of {total:,}"


def signed_points(change: float, digits: int = 1) -> str:
    """A change of a probability in percentage points: +2.6 or -31.4, and +0.0 for none."""
    return f"{round(100 * change, digits) + 0.0:+.{digits}f}"  # adding 0.0 turns -0.0 into 0.0


def calibration(direction: str, gap: float) -> str:
    """Whether a network is calibrated, by the `direction` and mean `gap` of its Calibration."""
    points = f"{100 * abs(gap):.2g}"
    points = f"by {points} point{'s' * (points != '1')}"
    return {
        "calibrated": "well calibrated: accuracy matches confidence",
        "mixed": "miscalibrated: accuracy above confidence in some bins, below in others",
        "underconfident": f"underconfident: accuracy above confidence {points}",
        "overconfident": f"overconfident: accuracy below confidence {points}",
    }[direction]


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of a sentence that refuses `given`: the known name that is closest, if one is close."""
    from difflib import get_close_matches  # only an error needs it

    names = {name.lower(): name for name in known}
    close = get_close_matches(given.lower(), names, n=1)
    return f"; did you mean {names[close[0]]}?" if close else ""


def _harmful(char: str) -> bool:
    category = unicodedata.category(char)
    return char not in _JOINERS and (category[0] == "C" or category in _LINE_BREAKS)
