"""Draws how one network learns the digits in 1, 2 and 4 CPU processes that share each batch.

python -m tests.benchmarks.processes_curves OUT.png

The runs differ in how gradients are added up and in batch-norm, which sees a process's share of the batch.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from era_cli.reports import style
from era_cli.runs.run import Run
from era_cli.text import plural
from tests.benchmarks import processes

COUNTS = (1, 2, 4)
EPOCHS, BATCH, SIDE = 8, 64, 16  # images of all processes together; pixels
SMOOTHED = 9  # steps of which a point of the thick line is the mean
WIDTHS = (3.5, 2.3, 1.3)  # points: where runs agree, each is seen beneath the next


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a run in `count` processes did: `losses` (S,) of its steps, `val` (E,) and `test` accuracy in 0..1.

    Of `val_count` images and `test_count` images.
    """

    count: int
    losses: npt.NDArray[np.float64]
    val: npt.NDArray[np.float64]
    test: float
    val_count: int
    test_count: int


def learned(count: int, runs: Path) -> Learned:
    """Trains by the command line, from seed 0; the run is a folder in `runs`."""
    name = f"processes-{count}"
    processes.era(
        *("fit", "--data", "digits", "--image-size", str(SIDE), "--epochs", str(EPOCHS), "--batch-size", str(BATCH)),
        *("--seed", "0", "--cpu-procs", str(count), "--quiet", "--runs-dir", str(runs), "--name", name),
    )
    run = Run(runs / name)
    document = run.read()
    result = document.result
    assert result is not None
    return Learned(
        count=count,
        losses=np.array([row.loss for row in run.steps()]),
        val=np.array([row.val_acc for row in run.epochs()], np.float64),
        test=result.test_acc,
        val_count=document.data.counts.val,
        test_count=result.test_count,
    )


def figure(runs: Sequence[Learned]) -> Figure:
    """Training loss by step, raw and smoothed, beside validation accuracy by epoch."""
    with style.look():
        drawn = Figure(figsize=(10, 4.6), layout="constrained")
        loss, accuracy = drawn.subplots(1, 2)
        loss.set(title="Training loss", xlabel="step", ylabel="nats per image")
        accuracy.set(title=f"Validation accuracy ({runs[0].val_count} images)", xlabel="epoch")
        for run, colour, width in zip(runs, style.PALETTE, WIDTHS, strict=False):
            steps, epochs = np.arange(1, len(run.losses) + 1), np.arange(1, len(run.val) + 1)
            name = f"{plural(run.count, 'process')}: {run.test:.2%}"
            loss.plot(steps, run.losses, color=colour, linewidth=0.8, alpha=0.25)
            loss.plot(steps, smoothed(run.losses), color=colour, linewidth=width)
            accuracy.plot(epochs, run.val, color=colour, linewidth=width, marker="o", markersize=3 + width, label=name)
        loss.set_xlim(left=0)
        accuracy.xaxis.set_major_locator(MaxNLocator(integer=True))
        accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        title = f"Test accuracy ({runs[0].test_count} images)"
        accuracy.legend(title=title, loc="lower right", fontsize=10, alignment="left")
        style.header(drawn, f"Digits learned in 1, 2 and 4 CPU processes that share batches of {BATCH}, seed 0")
    return drawn


def smoothed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean of the SMOOTHED values around each one, of fewer at the ends; (S,) like `values`."""
    window = np.ones(SMOOTHED)
    return np.convolve(values, window, "same") / np.convolve(np.ones_like(values), window, "same")


def main() -> None:
    """Trains and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT.png")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        style.save(figure([learned(count, Path(folder)) for count in COUNTS]), out)
    print(out)


if __name__ == "__main__":
    main()
