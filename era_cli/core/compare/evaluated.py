"""Runs with their predictions."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from era_cli.core.evaluation import predictions
from era_cli.core.evaluation.predictions import Predictions
from era_cli.core.evaluation.trained_run import Subset, TrainedRun
from era_cli.errors import UsageError
from era_cli.listener import Listener
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run


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
    def of(cls, trained: TrainedRun, subset: Subset, computed: Predictions) -> EvaluatedRun:
        """What a comparison needs of a trained run and its predictions on `subset`; its network is not kept."""
        return cls(
            run=trained.run,
            document=trained.document,
            checkpoint=trained.checkpoint_name,
            subset=subset,
            predictions=computed,
            label=predictions.label(trained, subset, computed.fingerprint["tta"]),
        )


def evaluate(trained: TrainedRun, subset: Subset, tta: str, listener: Listener) -> EvaluatedRun:
    """The run with its predictions on `subset`, the cached ones if they are valid.

    Raises:
        EraError: the checkpoint cannot be loaded, or gives NaN.
    """
    computed = predictions.load(trained, subset, tta)
    if computed is None:
        alone = dataclasses.replace(trained)  # so that the network is gone with it, and not held for each of many runs
        computed = predictions.compute(alone, subset, tta, listener, what=f"evaluating {trained.run.name}")
    return EvaluatedRun.of(trained, subset, computed)


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
