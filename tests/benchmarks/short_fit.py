"""A short real `era fit` at its own batch size, by the command line."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks import processes
from tests.benchmarks.data_here import Data
from tests.benchmarks.measuring import Options
from tests.benchmarks.processes import Finished

NAME = "short"
TRAIN, VAL = 1024, 512  # images: eight steps of the default batch
TEST = 10_000  # as many as CIFAR-10 has


def fit(data: Data, runs: Path, cache: Path, options: Options) -> Finished:
    """Trains for an epoch and tests; the run is `runs/short`. `cache` is where a folder source is kept decoded."""
    few = ("--limit-train", "64", "--batch-size", "8") if options.quick else ("--limit-train", str(TRAIN))
    val = ("--val-size", "32" if options.quick else str(VAL))
    return processes.era(
        *("fit", "--epochs", "1", "--name", NAME, "--runs-dir", str(runs), "--quiet", *few, *val, *data.arguments),
        environment={"XDG_CACHE_HOME": str(cache)},
    )
