"""The refusal of runs that cannot be compared. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from era_cli.choices import Split
from era_cli.errors import UsageError
from era_cli.runs.document import DataRecord
from era_cli.runs.run import Run
from era_cli.text import plural, quoted

if TYPE_CHECKING:  # which loads torch
    from era_cli.core.evaluation.trained_run import Subset

_MARK = 12  # characters of a content hash that tell it from another
_CHOSEN: dict[str, str] = {Split.VAL: "validation", Split.TRAIN: "training"}  # by the seed and options of a run


def check_sizes(a: int, b: int) -> None:
    """Refuses numbers of runs of which no interval is known.

    Raises:
        UsageError: one run is to be compared with several, or a side has none.
    """
    if not a or not b or (a == 1) != (b == 1):
        raise UsageError(
            f"A is {plural(a, 'run')} and B {plural(b, 'run')}: name one run on each side, to compare two trained"
            " networks, or at least two on each, to compare recipes over seeds"
        )


def check_records(runs: Sequence[tuple[Run, DataRecord]]) -> None:
    """Refuses runs whose own data differ, by what their run.json say.

    Raises:
        UsageError: they do; the sentence names two of the runs and what differs.
    """
    (first, record), *others = runs
    for other, another in others:
        if record.content_hash != another.content_hash:
            raise _different(first, other, _different_data(record, another))


def check_subsets(runs: Sequence[tuple[Run, DataRecord, Subset]]) -> None:
    """Refuses runs that are to be evaluated on different images, whether of their own data or of others.

    Raises:
        UsageError: they are; the sentence names two of the runs and what differs.
    """
    (first, record, subset), *others = runs
    for other, another, images in others:
        if subset.dataset.content_hash != images.dataset.content_hash:
            raise _different(first, other, _different_data(record, another))
        if not np.array_equal(subset.indices, images.indices):
            raise _different_split(first, other, subset, images)


def _different(one: Run, other: Run, how: str) -> UsageError:
    return UsageError(
        f"{one.path} and {other.path} cannot be compared, since {how}: name runs that were trained on the same data"
    )


def _different_data(one: DataRecord, other: DataRecord) -> str:
    if one.source != other.source:
        return f"their data are {one.source} and {other.source}"
    if one.image_size != other.image_size:
        return f"their images are {one.image_size} and {other.image_size} pixels wide"
    if one.classes != other.classes:
        return f"their classes differ ({_only(one.classes, other.classes)})"
    marks = (record.content_hash[:_MARK] for record in (one, other))
    return f"the images of {one.source} changed in between (content hashes {' and '.join(marks)})"


def _only(one: tuple[str, ...], other: tuple[str, ...]) -> str:
    """A class that only one of them has."""
    different = [name for name in (*one, *other) if (name in one) != (name in other)]
    return f"only one has {quoted(different[0])}" if different else "they are in another order"


def _different_split(one: Run, other: Run, of_one: Subset, of_other: Subset) -> UsageError:
    if of_one.name in _CHOSEN:
        return UsageError(
            f"{one.path} and {other.path} have different {_CHOSEN[of_one.name]} images, which a run's seed and options"
            " choose: compare them with --split test"
        )
    return UsageError(
        f"{one.path} and {other.path} test on different samples ({of_one.counted} and {of_other.counted}): compare"
        " them with --split test-all"
    )
