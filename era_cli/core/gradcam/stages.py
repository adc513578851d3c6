"""The stage of a network whose heat maps a page shows. Loads no lightning."""

from __future__ import annotations

import torch

from era_cli.core.evaluation.classifier import TrainedClassifier

CELLS = 4  # a side: what ResNet's last stage has on CIFAR-10; with fewer a map tells only halves or quarters apart


def last_with_cells(classifier: TrainedClassifier, image_size: int, cells: int = CELLS) -> str:
    """The last stage whose maps have `cells` cells a side; the one with the most if none has so many."""
    network = classifier.network
    with classifier.evaluating(), torch.no_grad():
        features = torch.zeros(1, 3, image_size, image_size, device=classifier.device)
        sides = {}
        for stage in network.stages:
            features = network.get_submodule(stage)(features)
            sides[stage] = features.shape[-1]
    wanted = min(cells, max(sides.values()))
    return [stage for stage, side in sides.items() if side >= wanted][-1]
