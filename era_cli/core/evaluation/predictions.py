"""A run's predictions, computed once and cached in its folder: every reading command starts from them.

`predictions-<label>.npz` holds `index` (N,) int64, `true` (N,) int64, `logits` (N, K) float32, and
`computed_from`, a JSON text: the class names, the checkpoint's step, and a fingerprint of everything
that the logits depend on. Loads no lightning.
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

from era_cli.choices import Tta
from era_cli.core.evaluation import inference
from era_cli.core.evaluation.trained_run import Subset, TrainedRun
from era_cli.core.networks import checkpoint
from era_cli.errors import EraError
from era_cli.files import atomic_write
from era_cli.listener import Listener
from era_cli.results import Evaluation
from era_cli.runs import artifacts

_UNREADABLE = (SyntaxError, tokenize.TokenError, zipfile.BadZipFile)
FORMAT = 1  # to be raised when the same weights and images would give other logits


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """An evaluation, the file that caches it, and what it was computed from.

    `step` is that of the checkpoint if it says so, `seconds` how long the network took, None if they were cached.
    """

    evaluation: Evaluation
    file: Path
    step: int | None
    fingerprint: dict[str, Any]
    seconds: float | None


def label(trained: TrainedRun, subset: Subset | None, tta: str) -> str:
    """Distinguishes file names: the subset, then the checkpoint and the augmentation where they are not the default."""
    names = [] if subset is None else [subset.name]
    if trained.checkpoint_name != "best":
        names.append(trained.checkpoint_name)
    if tta != Tta.NONE:
        names.append(tta)
    return "-".join(names)


def load_or_compute(trained: TrainedRun, subset: Subset, tta: str, listener: Listener) -> Predictions:
    """The cached predictions if they were computed from the same weights and images, else fresh ones.

    Raises:
        EraError: the checkpoint cannot be loaded, or gives NaN.
    """
    return load(trained, subset, tta) or compute(trained, subset, tta, listener)


def load(trained: TrainedRun, subset: Subset, tta: str) -> Predictions | None:
    """The cached predictions, if there are any that were computed from these weights and images.

    Raises:
        EraError: the checkpoint is absent.
    """
    fingerprint = _fingerprint(trained, subset, tta, checkpoint.digest(trained.checkpoint))
    return _read(_file(trained, subset, tta), subset, fingerprint)


def compute(
    trained: TrainedRun, subset: Subset, tta: str, listener: Listener, *, what: str = "evaluating"
) -> Predictions:
    """Computes the predictions and caches them; that they cannot be written is only noted.

    Raises:
        EraError: the checkpoint cannot be loaded, or gives NaN.
    """
    classifier = trained.classifier  # read before the clock starts
    started = time.monotonic()
    evaluation = inference.evaluate(classifier, subset.dataset, subset.indices, listener, what=what, tta=tta)
    predictions = Predictions(
        evaluation=evaluation,
        file=_file(trained, subset, tta),
        step=trained.weights.step,
        fingerprint=_fingerprint(trained, subset, tta, trained.weights.digest),
        seconds=time.monotonic() - started,
    )
    trained.check_finite(evaluation.logits)
    try:
        _write(predictions)
    except EraError as error:
        listener.note(f"The predictions are not cached: {error}.")
    return predictions


def _write(predictions: Predictions) -> None:
    evaluation = predictions.evaluation
    origin = {"fingerprint": predictions.fingerprint, "step": predictions.step, "classes": evaluation.classes}
    with atomic_write(predictions.file) as stream:
        np.savez(
            stream,
            index=evaluation.index,
            true=evaluation.labels,
            logits=evaluation.logits,
            computed_from=np.array(json.dumps(origin)),  # ASCII, whatever the classes are called
        )


def _file(trained: TrainedRun, subset: Subset, tta: str) -> Path:
    return trained.run.path / artifacts.predictions(label(trained, subset, tta))


def _fingerprint(trained: TrainedRun, subset: Subset, tta: str, digest: str) -> dict[str, Any]:
    """Everything that the logits depend on; `digest` is the checkpoint's SHA-256."""
    return {
        "format": FORMAT,
        "checkpoint": digest,
        "images": subset.dataset.content_hash,
        "indices": hashlib.sha256(subset.indices.astype(np.int64).tobytes()).hexdigest(),
        "mean": list(trained.normalization.mean),
        "std": list(trained.normalization.std),
        "logit_scale": trained.recipe.logit_scale,
        "tta": tta,
    }


def _read(file: Path, subset: Subset, fingerprint: dict[str, Any]) -> Predictions | None:
    """What `file` holds, or None where it is absent, damaged, or computed from anything else."""
    try:
        content = io.BytesIO(file.read_bytes())
        with zipfile.ZipFile(content) as archive:
            if archive.testzip() is not None:  # numpy does not check the sums of what it reads in part
                return None
        content.seek(0)
        with np.load(content, allow_pickle=False) as arrays:
            origin = json.loads(str(arrays["computed_from"]))
            evaluation = Evaluation(
                index=arrays["index"], labels=arrays["true"], logits=arrays["logits"], classes=tuple(origin["classes"])
            )
        if origin["fingerprint"] != fingerprint or not _fits(evaluation, subset):
            return None
        return Predictions(evaluation=evaluation, file=file, step=origin["step"], fingerprint=fingerprint, seconds=None)
    # A damaged header makes zipfile and numpy raise all sorts of errors.
    except (OSError, ValueError, LookupError, TypeError, EOFError, RuntimeError, *_UNREADABLE):
        return None


def _fits(evaluation: Evaluation, subset: Subset) -> bool:
    dataset = subset.dataset
    return (
        np.array_equal(evaluation.index, dataset.source_index(subset.indices))
        and np.array_equal(evaluation.labels, dataset.labels[subset.indices])
        and evaluation.classes == dataset.classes
        and evaluation.logits.dtype == np.float32
        and evaluation.logits.shape == (len(subset.indices), len(dataset.classes))
    )
