"""A run's predictions, computed once and cached in its folder: every reading command starts from them.

`predictions-<label>.npz` holds `index` (N,) int64, `true` (N,) int64, `logits` (N, K) float32, and
`computed_from`, a JSON text: the class names, the checkpoint's step, a fingerprint of everything
that the logits depend on, and the SHA-256 of the arrays. Loads no lightning.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from era_cli.choices import Tta
from era_cli.core.evaluation import inference
from era_cli.core.evaluation.trained_run import Subset, TrainedRun
from era_cli.core.networks import checkpoint
from era_cli.errors import EraError
from era_cli.files import atomic_write
from era_cli.listener import Listener
from era_cli.regular_file import read_regular
from era_cli.results import Evaluation
from era_cli.runs import artifacts
from era_cli.runs.run import Run

FORMAT = 2  # to be raised when the same weights and images would give other logits, or the file holds something else
_ORIGIN = "computed_from.npy"  # the entry that says what the others were computed from
_PACKAGING = 4_096  # bytes: the archive's own, and the header of each array
_MOST_STEPS = 2**63


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


def adopt(run: Run, former: str, digest: str) -> None:
    """Makes the run's predictions those of the checkpoint with this SHA-256, where they are those of the former one.

    For a checkpoint that was written anew with the same weights.

    Raises:
        EraError: a file could not be written.
    """
    for file in sorted(run.path.glob(artifacts.predictions("*"))):
        entries = _content(file, most=checkpoint.MOST)
        try:
            origin = json.loads(_text(entries[_ORIGIN]))
            if origin["fingerprint"]["checkpoint"] != former:
                continue
            origin["fingerprint"]["checkpoint"] = digest
        except (ValueError, LookupError, TypeError, RecursionError):
            continue  # damaged or foreign: it will be computed anew
        entries[_ORIGIN] = _entry(np.array(json.dumps(origin)))
        with atomic_write(file) as stream, zipfile.ZipFile(stream, "w") as archive:
            for name, entry in entries.items():
                archive.writestr(name, entry)


def _write(predictions: Predictions) -> None:
    evaluation = predictions.evaluation
    origin = _origin(evaluation.classes, predictions.fingerprint, predictions.step, _digest(evaluation))
    with atomic_write(predictions.file) as stream:
        np.savez(
            stream,
            index=evaluation.index,
            true=evaluation.labels,
            logits=evaluation.logits,
            computed_from=np.array(origin),
        )


def _origin(classes: tuple[str, ...], fingerprint: dict[str, Any], step: int | None, digest: str) -> str:
    """What the arrays with this digest were computed from, as JSON; ASCII, whatever the classes are called."""
    return json.dumps({"fingerprint": fingerprint, "step": step, "classes": classes, "arrays_sha256": digest})


def _digest(evaluation: Evaluation) -> str:
    """The SHA-256 of its arrays."""
    digest = hashlib.sha256()
    for array in (evaluation.index, evaluation.labels, evaluation.logits):
        digest.update(array.tobytes())
    return digest.hexdigest()


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
    """What `file` holds, or None where it is absent, damaged, altered, or computed from anything else."""
    classes, index = subset.dataset.classes, subset.dataset.source_index(subset.indices)
    labels, shape = subset.dataset.labels[subset.indices], (len(index), len(classes))
    longest = len(_origin(classes, fingerprint, _MOST_STEPS, "0" * 64))
    arrays = index.nbytes + labels.nbytes + math.prod(shape) * np.dtype(np.float32).itemsize
    content = _content(file, most=arrays + longest * np.dtype("U1").itemsize + _PACKAGING)
    try:
        logits = _array(content["logits.npy"], np.dtype(np.float32), shape)
        origin = _text(content[_ORIGIN])
        step = json.loads(origin)["step"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if step is not None and not (type(step) is int and 0 <= step < _MOST_STEPS):
        return None
    evaluation = Evaluation(index=index, labels=labels, logits=logits, classes=classes)
    if (
        content.get("index.npy") != _entry(index)
        or content.get("true.npy") != _entry(labels)
        or origin != _origin(classes, fingerprint, step, _digest(evaluation))
        or not np.isfinite(logits).all()
    ):
        return None
    return Predictions(evaluation=evaluation, file=file, step=step, fingerprint=fingerprint, seconds=None)


def _content(file: Path, most: int) -> dict[str, bytes]:
    """The entries of the archive, none where it is no regular file of at most `most` bytes, or is damaged.

    np.savez does not compress. So nothing is decompressed here, and an entry is no larger than the file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(read_regular(file, most))) as archive:
            entries = archive.infolist()
            if len(entries) != 4 or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                return {}
            return {entry.filename: archive.read(entry) for entry in entries}
    except Exception:  # zipfile raises all sorts of errors over a damaged archive
        return {}


def _array(entry: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The array of this type and shape that np.savez wrote as `entry`; a ValueError where it wrote another.

    Its header is compared, not interpreted: it could ask for any amount of memory.
    """
    head = _header(dtype, shape)
    if not entry.startswith(head):
        raise ValueError("an array of another type or shape")
    return np.frombuffer(entry[len(head) :], dtype).reshape(shape)


def _text(entry: bytes) -> str:
    """The text that np.savez wrote as `entry`."""
    length = (len(entry) - len(_header(np.dtype("U1"), ()))) // 4
    return str(_array(entry, np.dtype(f"U{length}"), ()))


def _entry(array: npt.NDArray[Any]) -> bytes:
    """What np.savez writes of an array."""
    return _header(array.dtype, array.shape) + array.tobytes()


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    return stream.getvalue()
