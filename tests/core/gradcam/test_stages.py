from __future__ import annotations

import pytest
import torch

from era_cli.core.data.normalize import Normalization
from era_cli.core.evaluation.classifier import TrainedClassifier
from era_cli.core.gradcam import stages
from era_cli.core.networks.resnet import CustomResNet


@pytest.mark.parametrize(
    ("size", "stage", "side"), [(32, "layer3", 4), (16, "layer2", 4), (8, "layer1", 4), (64, "layer3", 8)]
)
def test_the_last_stage_with_enough_cells(size: int, stage: str, side: int) -> None:
    network = CustomResNet(3, dropout=0.0, logit_scale=1.0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    classifier = TrainedClassifier(network, Normalization((0.5,) * 3, (0.2,) * 3), ("a", "b", "c"), mirrored=True)
    assert stages.last_with_cells(classifier, size) == stage
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.features(torch.zeros(1, 3, size, size), stage).shape[-1] == side
