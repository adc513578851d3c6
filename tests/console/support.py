"""What several tests of the console share."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from era_cli.results import EpochRow, FitResult, SeedResults

ROW = EpochRow(
    epoch=3,
    train_loss=1.23456,
    train_acc=0.61728,
    val_loss=0.98765,
    val_acc=0.7,
    lr=0.2612,
    seconds=83.2,
    images_per_second=1_234.5,
)


RESULT = FitResult(
    best_epoch=3,
    val_acc=0.7,
    val_loss=0.98765,
    test_acc=0.6875,
    test_loss=1.0123,
    test_correct=6_875,
    test_count=10_000,
    test_total=10_000,
    seconds=3_723,
)


HOSTILE = (
    "dog[/]",
    "[bold]",
    "\x1b[31mred\x07",
    "$\\frac{$",
    "x" * 60,
    "猫" * 40,
    "собака",
    'O\'Neil "q"',
    "a\nb\tc\r",
)


def seeds(*accuracies: float, val_acc: float | None = 0.9) -> SeedResults:
    return SeedResults(
        runs=tuple(Path(f"runs/digits-{place}") for place in range(len(accuracies))),
        seeds=tuple(range(7, 7 + len(accuracies))),
        results=tuple(
            dataclasses.replace(RESULT, val_acc=val_acc, test_acc=accuracy, seconds=61) for accuracy in accuracies
        ),
    )


@contextlib.contextmanager
def closed_pipe() -> Iterator[TextIO]:
    """A stream whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield stream


@contextlib.contextmanager
def terminal() -> Iterator[int]:
    """Makes stderr a terminal; gives the end at which a person would look."""
    if not hasattr(os, "openpty"):
        pytest.skip("this system has no pseudo-terminals")
    person, program = os.openpty()
    stream = os.fdopen(program, "w", encoding="utf-8")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TERM", "xterm")
            patch.setattr(sys, "stderr", stream)
            yield person
    finally:
        with contextlib.suppress(OSError):  # the rest of its buffer has nowhere to go
            stream.close()
        with contextlib.suppress(OSError):  # the test may have closed it
            os.close(person)


def read_until(person: int, end: str) -> str:
    """What came on the terminal up to `end`; it comes in pieces."""
    seen = b""
    while end.encode() not in seen and select.select([person], [], [], 10)[0]:
        seen += os.read(person, 100_000)
    return seen.decode().partition(end)[0] + end


def rows(text: str, title: str) -> list[list[str]]:
    """The cells of each row of the table under `title`."""
    _, _, rest = text.partition(title)
    lines = [line.strip() for line in rest.splitlines()[1:]]
    first = next(place for place, line in enumerate(lines) if set(line) == {"─"}) + 1
    body = lines[first:]
    return [re.split(r"\s{2,}", line) for line in body[: body.index("") if "" in body else len(body)]]
