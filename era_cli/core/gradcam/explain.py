"""A classifier's heat maps over images, and how faithful they are. Loads no lightning."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from era_cli.choices import Target
from era_cli.core.evaluation.classified_images import ClassifiedImages
from era_cli.core.evaluation.classifier import TrainedClassifier
from era_cli.core.gradcam import cam, faithfulness
from era_cli.core.gradcam.cam import CamOptions
from era_cli.errors import UsageError
from era_cli.files import atomic_write
from era_cli.listener import Listener
from era_cli.results import Heatmaps

ROLES: dict[Target, tuple[str, ...]] = {
    Target.PREDICTED: ("predicted",),
    Target.TRUE: ("true",),
    Target.BOTH: ("predicted", "true"),
}


def explain(
    classifier: TrainedClassifier, images: ClassifiedImages, options: CamOptions, listener: Listener
) -> Heatmaps:
    """Maps of `images` for the classes that the options' target names, with their faithfulness.

    Where the true class is the predicted one in every image, that is one map each.

    Raises:
        UsageError: the network has no such layer, or images without labels are to be explained by their true class.
        EraError: the network disagrees with the images' logits.
    """
    if options.layer not in classifier.network.stages:
        raise UsageError(
            f"--layer {options.layer} is not a stage of the network: {', '.join(classifier.network.stages)}"
        )
    if images.labels is None and options.target != Target.PREDICTED:
        raise UsageError(f"--target {options.target} needs the true classes, which these images do not have")
    labels = images.predicted if images.labels is None else images.labels
    all_right = np.array_equal(images.predicted, labels)
    roles = ROLES[options.target][:1] if all_right else ROLES[options.target]
    classes = {"predicted": images.predicted, "true": labels}
    targets = np.stack([classes[role] for role in roles], axis=1)
    maps = cam.maps(classifier, images.images, targets, images.logits, options, listener)
    heatmaps = Heatmaps(
        method=options.method,
        layer=options.layer,
        smooth=options.smooth,
        classes=classifier.classes,
        images=images.images.transpose(0, 2, 3, 1),
        index=images.index,
        files=images.files,
        labels=images.labels,
        probabilities=images.probabilities,
        roles=roles,
        targets=targets,
        maps=maps,
        faithfulness=None,
    )
    shown = np.flatnonzero(~heatmaps.empty[:, 0])
    if not len(shown) or maps[0, 0].size == 1:  # a single cell points nowhere
        return heatmaps
    measured = faithfulness.measure(
        classifier,
        images.images[shown],
        targets[shown, 0],
        heatmaps.scaled[shown, 0],
        listener,
        seed=options.seed,
    )
    return dataclasses.replace(heatmaps, faithfulness=measured)


def save(heatmaps: Heatmaps, path: Path) -> None:
    """Writes the raw maps and everything that they are of to `path`, an npz file of arrays.

    Raises:
        EraError: it cannot be written.
    """
    arrays: dict[str, Any] = {
        name: np.array(getattr(heatmaps, name))
        for name in ("maps", "targets", "roles", "classes", "images", "index", "files", "labels", "probabilities")
        if getattr(heatmaps, name) is not None
    }
    with atomic_write(path) as file:
        np.savez(file, **arrays)
