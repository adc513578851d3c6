"""Wall time of the whole `era fit --epochs 24 --gpus 1`, over what a bare loop takes for as many steps. GPU only.

On a CPU it would take hours. A first, uncounted run of one epoch fills the system's caches and decodes a folder.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from era_cli.core.training import devices
from era_cli.recipes import default
from era_cli.runs.run import Run
from tests.benchmarks import bare_loop, data_here, processes
from tests.benchmarks.measuring import CannotRun, Figure, Options, Target, alternate

EPOCHS = 24
MOST_SECONDS = 60.0
BARE_STEPS = 256


def figures(options: Options) -> Iterator[Figure]:
    """Seconds of the command, start, validation, test and files included; of the bare loop, its steps alone."""
    if not torch.cuda.is_available():
        raise CannotRun("there is no GPU here")
    device, batch = devices.choose("1", "auto"), default().batch_size
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = data_here.data(folder / "images", options, train=50_000, test=10_000)
        runs, accuracies = folder / "runs", []

        def fit(name: str, epochs: int) -> float:
            finished = processes.era(
                *("fit", "--epochs", str(epochs), "--gpus", "1", "--name", name, "--runs-dir", str(runs), "--json"),
                *data.arguments,
                environment={"XDG_CACHE_HOME": str(folder / "cache")},
            )
            accuracies.append(json.loads(finished.stdout)["result"]["test_acc"])
            return finished.seconds

        fit("warm", 1)
        steps = EPOCHS * len(Run(runs / "warm").steps())
        rounds = alternate(
            lambda: fit(f"round-{len(accuracies)}", EPOCHS),
            lambda: (
                steps
                * bare_loop.seconds_each(bare_loop.training_step(device, batch, device.precision), BARE_STEPS, device)
            ),
            options.rounds,
        )
    reached = ", ".join(f"{100 * accuracy:.2f} %" for accuracy in accuracies[1:])
    yield Figure(
        what=f"era fit --epochs {EPOCHS} --gpus 1, the whole command, over {steps:,} steps of a bare loop",
        left="era fit",
        right="bare loop",
        unit="s",
        rounds=rounds,
        target=Target("at most", MOST_SECONDS, of="left"),
        note=f"{data.what}; test accuracy {reached}",
    )
