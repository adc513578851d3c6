"""Maps point at what decides: known ground truth, the default layer and method of `era gradcam`."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from era_cli.commands.gradcam import gradcam
from era_cli.core.networks.resnet import CustomResNet
from tests.benchmarks import pointing

METHOD = inspect.signature(gradcam).parameters["method"].default
LAYER = CustomResNet.stages[-1]


@pytest.mark.usefixtures("whole_network")
def test_the_map_peaks_in_the_deciding_patch() -> None:
    # One seed, since training takes 15 seconds; the benchmark prints five.
    network = pointing.trained(0)
    shown = pointing.scenes(pointing.JUDGED, np.random.default_rng(1000))
    knowing = pointing.pointing(network, shown, method=METHOD, layer=LAYER)
    assert knowing.count >= 0.9 * pointing.JUDGED
    assert knowing.inside >= 0.9
    # A map that lights up whatever is bright would find the patch in one image of four.
    other = pointing.shuffled(network, 0)
    blind = pointing.pointing(other, shown, method=METHOD, layer=LAYER, only_right=False)
    assert knowing.chance < 0.3
    assert blind.inside < 0.5
