"""A trained run's heat maps over images, of its data or a person's own. Loads no lightning."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from era_cli.choices import CamMethod, Smoothing, Target
from era_cli.core.data.image_file import load_image, reason
from era_cli.core.evaluation import inference
from era_cli.core.evaluation.trained_run import Part, TrainedRun
from era_cli.core.gradcam import cam, faithfulness
from era_cli.core.networks.network import Network
from era_cli.errors import EraError, UsageError
from era_cli.files import atomic_write
from era_cli.listener import Listener
from era_cli.results import Evaluation, Heatmaps, Images, Labels

ROLES: dict[str, tuple[str, ...]] = {
    Target.PREDICTED: ("predicted",),
    Target.TRUE: ("true",),
    Target.BOTH: ("predicted", "true"),
}


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """What is to be explained: `images` (N, 3, H, W) uint8 and what the network answers to them, `logits` (N, K).

    `index`, `files` and `labels` as in Heatmaps.
    """

    images: Images
    logits: npt.NDArray[np.float32]
    index: Labels | None
    files: tuple[str, ...] | None
    labels: Labels | None


def of_part(part: Part, evaluation: Evaluation, rows: Labels) -> Subjects:
    """The judged images at `rows` (N,) of the evaluation of `part`."""
    files = part.files
    return Subjects(
        images=part.dataset.images[part.indices[rows]],
        logits=evaluation.logits[rows],
        index=evaluation.index[rows],
        files=None if files is None else tuple(files[row] for row in rows),
        labels=evaluation.labels[rows],
    )


def of_files(trained: TrainedRun, network: Network, files: Sequence[Path], listener: Listener) -> Subjects:
    """A person's own pictures, brought to the network as the images of a folder are.

    Raises:
        UsageError: one is absent.
        EraError: one cannot be read, or the network answers with NaN.
    """
    size = trained.document.data.image_size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files that it reads all the same
        images = _loaded(files, size)
    logits = inference.logits(
        network, images, np.arange(len(images)), trained.normalization, listener, what="classifying"
    )
    trained.check_answers(logits)
    return Subjects(images=images, logits=logits, index=None, files=tuple(map(str, files)), labels=None)


def explain(
    trained: TrainedRun,
    network: Network,
    subjects: Subjects,
    listener: Listener,
    *,
    method: str,
    layer: str,
    smooth: str,
    target: str,
    seed: int,
) -> Heatmaps:
    """Maps for the classes that `target` names of each image, and what those are worth.

    Where the true class is the predicted one in every image, or the method knows no classes, that is one map each.
    """
    classes = trained.document.data.classes
    known = Evaluation(
        index=np.arange(len(subjects.images)),
        labels=np.zeros(len(subjects.images), np.int64) if subjects.labels is None else subjects.labels,
        logits=subjects.logits,
        classes=classes,
    )
    one_map = not cam.METHODS[method].by_class or np.array_equal(known.predicted, known.labels)
    roles = ROLES[target][:1] if one_map else ROLES[target]
    targets = np.stack([known.predicted if role == "predicted" else known.labels for role in roles], axis=1)
    maps = cam.maps(
        network,
        subjects.images,
        targets,
        subjects.logits,
        trained.normalization,
        listener,
        method=method,
        layer=layer,
        smooth=smooth,
        mirrored=trained.recipe.flip > 0,
    )
    found = Heatmaps(
        method=CamMethod(method),
        by_class=cam.METHODS[method].by_class,
        layer=layer,
        smooth=Smoothing(smooth),
        classes=classes,
        images=subjects.images.transpose(0, 2, 3, 1),
        index=subjects.index,
        files=subjects.files,
        labels=subjects.labels,
        probabilities=known.probabilities,
        roles=roles,
        targets=targets,
        maps=maps,
        faithfulness=None,
    )
    shown = np.flatnonzero(~found.empty[:, 0])
    if not len(shown) or maps[0, 0].size == 1:  # a single cell points nowhere
        return found
    worth = faithfulness.measure(
        network,
        subjects.images[shown],
        targets[shown, 0],
        found.scaled[shown, 0],
        trained.normalization,
        listener,
        seed=seed,
    )
    return dataclasses.replace(found, faithfulness=worth)


def save(found: Heatmaps, path: Path) -> None:
    """Writes the raw maps with all that they are of to `path`, an npz file of arrays.

    Raises:
        EraError: it cannot be written.
    """
    arrays: dict[str, Any] = {
        name: np.array(getattr(found, name))
        for name in ("maps", "targets", "roles", "classes", "images", "index", "files", "labels", "probabilities")
        if getattr(found, name) is not None
    }
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def _loaded(files: Sequence[Path], size: int) -> Images:
    """The pictures (N, 3, H, W); all that cannot be read are named at once."""
    images, faults = [], []
    for file in files:
        if not file.is_file():
            raise UsageError(
                f"{file} is a folder: name the pictures in it"
                if file.is_dir()
                else f"there is no image {file}: check the path"
            )
        try:
            images.append(load_image(file, size))
        except Exception as error:  # Pillow raises whatever a damaged file leads it to
            faults.append(f"{file} cannot be read as an image ({reason(error, file)})")
    if faults:
        raise EraError(f"{'; '.join(faults)}: mend or leave out what cannot be read")
    return np.stack(images).transpose(0, 3, 1, 2)
