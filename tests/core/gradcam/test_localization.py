"""Maps point at what decides: known ground truth, the default layer and method of `era gradcam`."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from era_cli.commands.gradcam import gradcam
from tests.benchmarks import pointing

DEFAULTS = {name: inspect.signature(gradcam).parameters[name].default for name in ("method", "layer")}


@pytest.mark.parametrize("seed", range(5))
def test_the_map_peaks_in_the_deciding_patch(seed: int) -> None:
    assert pointing.PATCH <= 10
    network = pointing.trained(seed)
    shown = pointing.scenes(pointing.JUDGED, np.random.default_rng(1000 + seed))
    knowing = pointing.pointing(network, shown, **DEFAULTS)
    assert knowing.count >= 0.9 * pointing.JUDGED
    assert knowing.inside >= 0.9
    # A map that lights up whatever is bright would find the patch in one image of four.
    blind = pointing.pointing(pointing.shuffled(network, seed), shown, **DEFAULTS, only_right=False)
    assert knowing.chance < 0.3
    assert blind.inside < 0.5
