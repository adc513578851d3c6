"""A run's answers on its images, computed once and kept beside it: what every reading command stands on.

`predictions-<label>.npz` holds `index` (N,) int64, `true` (N,) int64, `logits` (N, K) float32, and
`computed_from`, a JSON text: the class names, the checkpoint's step, and a fingerprint of all that
the logits depend on. Loads no lightning.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from era_cli.core import checkpoint, inference
from era_cli.core.model import CustomResNet
from era_cli.core.trained import Part, TrainedRun
from era_cli.files import atomic_write
from era_cli.listener import Listener
from era_cli.results import Evaluation

FORMAT = 1  # to be raised when the same weights and images would give other logits


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """An evaluation, the file it is kept in, the step of its checkpoint, and whether it was there already."""

    evaluation: Evaluation
    file: Path
    step: int | None
    reused: bool


def label(trained: TrainedRun, part: Part, tta: str) -> str:
    """What tells files apart: the part of the data, then the checkpoint and the augmentation if not the usual ones."""
    parts = [part.name]
    if trained.checkpoint.name != checkpoint.BEST:
        parts.append(trained.checkpoint_name)
    if tta != "none":
        parts.append(tta)
    return "-".join(parts)


def of(trained: TrainedRun, part: Part, tta: str, listener: Listener) -> Predictions:
    """The stored predictions if they were computed from just these weights and images, else fresh ones.

    Raises:
        EraError: the checkpoint cannot be loaded, or the file cannot be written.
    """
    stored = _read(_file(trained, part, tta), _fingerprint(trained, part, tta))
    return stored or compute(trained, part, tta, listener)


def compute(trained: TrainedRun, part: Part, tta: str, listener: Listener, *, what: str = "evaluating") -> Predictions:
    """Computes the predictions and keeps them.

    Raises:
        EraError: the checkpoint cannot be loaded, or the file cannot be written.
    """
    fingerprint, network, step = _loaded(trained, part, tta)
    evaluation = inference.evaluate(
        network, part.dataset, part.indices, trained.normalization, listener, what=what, tta=tta
    )
    origin = {"fingerprint": fingerprint, "step": step, "classes": evaluation.classes}
    file = _file(trained, part, tta)
    with atomic_write(file) as stream:
        np.savez(
            stream,
            index=evaluation.index,
            true=evaluation.labels,
            logits=evaluation.logits,
            computed_from=np.array(json.dumps(origin)),  # ASCII, whatever the classes are called
        )
    return Predictions(evaluation=evaluation, file=file, step=step, reused=False)


def _loaded(trained: TrainedRun, part: Part, tta: str) -> tuple[dict[str, Any], CustomResNet, int | None]:
    """The network with its step, and the fingerprint of just these weights: a run in training replaces the file."""
    while True:
        fingerprint = _fingerprint(trained, part, tta)
        network, step = trained.network(), checkpoint.step_of(trained.checkpoint)
        if _fingerprint(trained, part, tta) == fingerprint:
            return fingerprint, network, step


def _file(trained: TrainedRun, part: Part, tta: str) -> Path:
    return trained.run.path / f"predictions-{label(trained, part, tta)}.npz"


def _fingerprint(trained: TrainedRun, part: Part, tta: str) -> dict[str, Any]:
    """All that the logits depend on."""
    with trained.checkpoint.open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "format": FORMAT,
        "checkpoint": weights,
        "images": part.dataset.content_hash,
        "indices": hashlib.sha256(part.indices.astype(np.int64).tobytes()).hexdigest(),
        "mean": list(trained.normalization.mean),
        "std": list(trained.normalization.std),
        "logit_scale": trained.recipe.logit_scale,
        "tta": tta,
    }


def _read(file: Path, fingerprint: dict[str, Any]) -> Predictions | None:
    """What `file` holds, or None where it is absent, damaged, or computed from anything else."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            origin = json.loads(str(arrays["computed_from"]))
            if origin["fingerprint"] != fingerprint:
                return None
            index, true, logits = arrays["index"], arrays["true"], arrays["logits"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    evaluation = Evaluation(index=index, labels=true, logits=logits, classes=tuple(origin["classes"]))
    return Predictions(evaluation=evaluation, file=file, step=origin["step"], reused=True)
