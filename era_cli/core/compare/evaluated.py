"""Runs with their predictions, and the refusal of those that were evaluated on other images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from era_cli.choices import Split
from era_cli.core.evaluation.predictions import Predictions
from era_cli.core.evaluation.trained_run import Subset, TrainedRun
from era_cli.errors import UsageError
from era_cli.runs.document import DataRecord, RunDocument
from era_cli.runs.run import Run

_MARK = 12  # characters of a content hash that tell it from another


@dataclass(frozen=True, kw_only=True)
class EvaluatedRun:
    """A run with its predictions on the images of `subset` by one of its checkpoints.

    `label` tells subset, checkpoint and augmentation apart in file names, where these are not the default.
    """

    run: Run
    document: RunDocument
    checkpoint: str
    subset: Subset
    predictions: Predictions
    label: str

    @classmethod
    def of(cls, trained: TrainedRun, subset: Subset, predictions: Predictions, label: str) -> EvaluatedRun:
        """What a comparison needs of a trained run; its network is not kept."""
        return cls(
            run=trained.run,
            document=trained.document,
            checkpoint=trained.checkpoint_name,
            subset=subset,
            predictions=predictions,
            label=label,
        )


def check_same_images(runs: Sequence[EvaluatedRun]) -> None:
    """Refuses runs that were evaluated on different images.

    Raises:
        UsageError: they were; the sentence names two of them and what differs.
    """
    first, *others = runs
    for other in others:
        if first.subset.dataset.classes != other.subset.dataset.classes:
            raise _different(first.run, other.run, "their classes differ")
        if first.subset.dataset.content_hash != other.subset.dataset.content_hash:
            raise _different(first.run, other.run, _different_data(first.document.data, other.document.data))
        if not np.array_equal(first.subset.indices, other.subset.indices):
            raise _different_split(first, other)


def check_distinct(name: str, runs: Sequence[EvaluatedRun]) -> None:
    """Refuses a side, `A` or `B`, that has the same network twice: it would count as two seeds.

    Raises:
        UsageError: two of the runs give identical logits.
    """
    seen: dict[str, Run] = {}
    for each in runs:
        digest = hashlib.sha256(each.predictions.evaluation.logits.tobytes()).hexdigest()
        if digest in seen:
            raise UsageError(
                f"{seen[digest].path} and {each.run.path}, both of {name}, hold the same network, which would count"
                " twice: leave one of them out"
            )
        seen[digest] = each.run


def _different(one: Run, other: Run, how: str) -> UsageError:
    return UsageError(
        f"{one.path} and {other.path} cannot be compared: {how}; compare runs that are evaluated on the same images"
    )


def _different_data(one: DataRecord, other: DataRecord) -> str:
    if one.source != other.source:
        return f"their data are {one.source} and {other.source}"
    if one.image_size != other.image_size:
        return f"their images are {one.image_size} and {other.image_size} pixels wide"
    marks = (record.content_hash[:_MARK] for record in (one, other))
    return f"the images of {one.source} have changed between them (content hashes {' and '.join(marks)})"


def _different_split(one: EvaluatedRun, other: EvaluatedRun) -> UsageError:
    name = one.subset.name
    if name in (Split.VAL, Split.TRAIN):
        return UsageError(
            f"{one.run.path} and {other.run.path} have different {one.subset.title}, which a run's seed and options"
            " choose: compare them with --split test"
        )
    return UsageError(
        f"{one.run.path} and {other.run.path} test on different samples of the test images ({one.subset.counted} and"
        f" {other.subset.counted}): compare them with --split test-all"
    )
