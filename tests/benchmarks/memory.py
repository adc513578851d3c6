"""Peak memory of a whole `era fit`, over its images and over a process that only imports and builds the network.

Both are fresh processes; the peak is that of resident memory, as the system tells it of the process that ended.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import data_here, processes, short_fit
from tests.benchmarks.measuring import Figure, Options, alternate

MB = 1e6
BUILD = """
import lightning.pytorch, torch
from era_cli.core.networks import networks
from era_cli.recipes import default
network = networks.build(default(), 10)
"""


def figures(options: Options) -> Iterator[Figure]:
    """Peaks in MB, from the same rounds."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = data_here.data(folder / "images", options, train=10 * short_fit.TRAIN, test=short_fit.TEST)

        def fit() -> float:
            with tempfile.TemporaryDirectory(dir=folder) as runs:
                return short_fit.fit(data, Path(runs), folder / "cache", options).peak / MB

        def build() -> float:
            return processes.succeeded(["-c", BUILD]).peak / MB

        rounds = alternate(fit, build, options.rounds)
    yield Figure(
        what="peak memory of era fit over its images as bytes",
        left="era fit",
        right="images",
        unit="MB",
        rounds=tuple((peak, data.size / MB) for peak, _ in rounds),
        note=data.what,
    )
    yield Figure(
        what="peak memory of era fit over that of importing torch and lightning and building the network",
        left="era fit",
        right="imports and network",
        unit="MB",
        rounds=rounds,
        note=data.what,
    )
