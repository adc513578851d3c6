"""A run's answers on its images, computed once and kept beside it: what every reading command stands on.

`predictions-<label>.npz` holds `index` (N,) int64, `true` (N,) int64, `logits` (N, K) float32, and
`computed_from`, a JSON text: the class names, the checkpoint's step, and a fingerprint of all that
the logits depend on. Loads no lightning.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import tokenize
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from era_cli.core.evaluation import inference
from era_cli.core.evaluation.trained_run import Part, TrainedRun
from era_cli.core.networks import checkpoint
from era_cli.errors import EraError
from era_cli.files import atomic_write
from era_cli.listener import Listener
from era_cli.results import Evaluation

_UNREADABLE = (SyntaxError, tokenize.TokenError, zipfile.BadZipFile)
FORMAT = 1  # to be raised when the same weights and images would give other logits


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """An evaluation, the file it is kept in, and what it was computed from.

    `step` is that of the checkpoint if it says so, `seconds` how long the network took, None if all was there already.
    """

    evaluation: Evaluation
    file: Path
    step: int | None
    fingerprint: dict[str, Any]
    seconds: float | None

    @property
    def reused(self) -> bool:
        """Whether it was there already."""
        return self.seconds is None


def label(trained: TrainedRun, part: Part | None, tta: str) -> str:
    """What tells files apart: the part of the data, then the checkpoint and the augmentation if not the usual ones."""
    parts = [] if part is None else [part.name]
    if trained.checkpoint_name != "best":
        parts.append(trained.checkpoint_name)
    if tta != "none":
        parts.append(tta)
    return "-".join(parts)


def of(trained: TrainedRun, part: Part, tta: str, listener: Listener) -> Predictions:
    """The stored predictions if they were computed from just these weights and images, else fresh ones.

    Raises:
        EraError: the checkpoint cannot be loaded, or answers with NaN.
    """
    fingerprint = _fingerprint(trained, part, tta, checkpoint.digest(trained.checkpoint))
    return _read(_file(trained, part, tta), part, fingerprint) or compute(trained, part, tta, listener)


def compute(trained: TrainedRun, part: Part, tta: str, listener: Listener, *, what: str = "evaluating") -> Predictions:
    """Computes the predictions and keeps them; that they cannot be kept is no more than a note.

    Raises:
        EraError: the checkpoint cannot be loaded, or answers with NaN.
    """
    weights = trained.weights()
    started = time.monotonic()
    evaluation = inference.evaluate(
        weights.network, part.dataset, part.indices, trained.normalization, listener, what=what, tta=tta
    )
    made = Predictions(
        evaluation=evaluation,
        file=_file(trained, part, tta),
        step=weights.step,
        fingerprint=_fingerprint(trained, part, tta, weights.digest),
        seconds=time.monotonic() - started,
    )
    trained.check_answers(evaluation.logits)
    try:
        _write(made)
    except EraError as error:
        listener.note(f"The predictions are not kept: {error}.")
    return made


def _write(made: Predictions) -> None:
    evaluation = made.evaluation
    origin = {"fingerprint": made.fingerprint, "step": made.step, "classes": evaluation.classes}
    with atomic_write(made.file) as stream:
        np.savez(
            stream,
            index=evaluation.index,
            true=evaluation.labels,
            logits=evaluation.logits,
            computed_from=np.array(json.dumps(origin)),  # ASCII, whatever the classes are called
        )


def _file(trained: TrainedRun, part: Part, tta: str) -> Path:
    return trained.run.path / f"predictions-{label(trained, part, tta)}.npz"


def _fingerprint(trained: TrainedRun, part: Part, tta: str, weights: str) -> dict[str, Any]:
    """All that the logits depend on; `weights` is the checkpoint's SHA-256."""
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


def _read(file: Path, part: Part, fingerprint: dict[str, Any]) -> Predictions | None:
    """What `file` holds, or None where it is absent, damaged, or computed from anything else."""
    try:
        content = io.BytesIO(file.read_bytes())
        with zipfile.ZipFile(content) as archive:
            if archive.testzip() is not None:  # numpy does not check the sums of what it reads in part
                return None
        content.seek(0)
        with np.load(content, allow_pickle=False) as arrays:
            origin = json.loads(str(arrays["computed_from"]))
            found = Evaluation(
                index=arrays["index"], labels=arrays["true"], logits=arrays["logits"], classes=tuple(origin["classes"])
            )
        if origin["fingerprint"] != fingerprint or not _fits(found, part):
            return None
        return Predictions(evaluation=found, file=file, step=origin["step"], fingerprint=fingerprint, seconds=None)
    # A damaged header leads zipfile and numpy to raise whatever they come upon.
    except (OSError, ValueError, LookupError, TypeError, EOFError, RuntimeError, *_UNREADABLE):
        return None


def _fits(found: Evaluation, part: Part) -> bool:
    dataset = part.dataset
    return (
        np.array_equal(found.index, dataset.source_index(part.indices))
        and np.array_equal(found.labels, dataset.labels[part.indices])
        and found.classes == dataset.classes
        and found.logits.dtype == np.float32
        and found.logits.shape == (len(part.indices), len(dataset.classes))
    )
