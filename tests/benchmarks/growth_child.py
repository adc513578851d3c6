"""One epoch of `era fit`'s core on part of a source in memory, in a process of its own. For `growth`.

python -m tests.benchmarks.growth_child IMAGES SIDE BATCH STEPS
"""

from __future__ import annotations

import json
import sys

from era_cli.core.training import devices
from tests.benchmarks import core_fit

if __name__ == "__main__":
    images, side, batch, steps = map(int, sys.argv[1:])
    device = devices.choose("auto", "auto")
    row = core_fit.last_epoch(device, core_fit.random_images(images, side), batch, steps)
    json.dump({"seconds": batch * steps / row.images_per_second}, sys.stdout)
