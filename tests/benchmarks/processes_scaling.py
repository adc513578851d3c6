"""Images a second of training in several processes over those of one, and how long a process waits for the others.

python -m tests.benchmarks.processes_scaling [--rounds 3] [--batch-size 128 256] [--precision auto] [--quick]

On the CPU, one process with all threads and two that share them (`era fit --cpu-procs`); with two GPUs or more also 1,
2, 4 and so on of them (`era fit --gpus`). Each round trains all of them in turn by the command line, three epochs of
the same images. The first epoch warms up. The second is what counts, its training alone: start-up, checkpoints and the
test are left out, and nothing is validated. On the CPU the efficiency is that of the cores, since all of them are busy
on both sides: images/s over those of one process. On N GPUs it is images/s over N times those of one.

Waiting: in the third epoch, the same processes on the same cores train their shares without any exchange, neither of
gradients and buffers (DistributedDataParallel's `no_sync`) nor of what they agree on after each step. Each process
times its own epochs. What its step takes longer in the second epoch is waiting: for a slower process, and for the
exchange itself as far as it is not hidden behind the backward pass. The figure is the mean over the processes. That of
one process, which waits for nobody, shows how much of it is noise.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean

from era_cli.core.training import devices
from era_cli.runs.run import Run
from era_cli.text import plural
from tests.benchmarks import data_here, processes, report
from tests.benchmarks.conditions import conditions
from tests.benchmarks.data_here import Data
from tests.benchmarks.measuring import Absent, Figure, Found, Options, take_turns

BATCHES = (128, 256)  # images, of all processes together
ON_CPU, ON_GPUS, QUICK = 2048, 32_768, 32  # images of an epoch
TEST = 100  # images; a finished run has been tested
EPOCHS = 3
COUNTED, BY_THEMSELVES = 1, 2  # of these, from 0


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A training in several processes, or one.

    `rate` is in images/s. `step` and `step_alone` are ms of a step with and without exchange, the mean over the
    processes. `threads` are those of each process.
    """

    rate: float
    step: float
    step_alone: float
    precision: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class Training:
    """What to train, on GPUs or the CPU: `images` an epoch, `batch` of them a step."""

    on_gpus: bool
    batch: int
    images: int
    precision: str
    data: Data
    folder: Path

    def in_processes(self, count: int) -> Trained:
        """Trains by the command line."""
        with tempfile.TemporaryDirectory(dir=self.folder) as temporary:
            processes.succeeded(
                [
                    *("-m", "tests.benchmarks.exchange_child", "fit", "--quiet", *self.data.arguments),
                    *("--gpus" if self.on_gpus else "--cpu-procs", str(count), "--precision", self.precision),
                    *("--epochs", str(EPOCHS), "--batch-size", str(self.batch), "--limit-train", str(self.images)),
                    *("--val-size", "0", "--limit-test", str(TEST), "--runs-dir", temporary, "--name", "run"),
                ],
                environment={"XDG_CACHE_HOME": str(self.folder / "cache"), "RATES_IN": temporary},
            )
            told = [json.loads((Path(temporary) / f"{rank}.json").read_text()) for rank in range(count)]
            if len({own["weights"] for own in told}) != count:
                raise RuntimeError("the processes have the same weights: they did exchange gradients in the last epoch")
            run = Run(Path(temporary) / "run")
            device = run.read().device
            return Trained(
                rate=run.epochs()[COUNTED].images_per_second,
                step=mean(1e3 * self.batch / own["rates"][COUNTED] for own in told),
                step_alone=mean(1e3 * self.batch / own["rates"][BY_THEMSELVES] for own in told),
                precision=device.precision,
                threads=device.threads,
            )


def figures(options: Options, precision: str = "auto", batches: Sequence[int] = BATCHES) -> Iterator[Found]:
    """The efficiency and the waiting for each batch size and number of processes."""
    gpus = devices.count_gpus()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = data_here.data(folder / "images", options, train=ON_GPUS if gpus > 1 else ON_CPU, test=10 * TEST)
        for on_gpus in (False, True) if gpus > 1 else (False,):
            counts = [2**power for power in range(gpus.bit_length())] if on_gpus else [1, 2]
            for batch in (16,) if options.quick else batches:
                training = Training(
                    on_gpus=on_gpus,
                    batch=batch,
                    images=QUICK if options.quick else ON_GPUS if on_gpus else ON_CPU,
                    precision=precision,
                    data=data,
                    folder=folder,
                )
                turns = take_turns([partial(training.in_processes, count) for count in counts], options.rounds)
                for place, count in enumerate(counts):
                    yield from judged(count, [(turn[place], turn[0]) for turn in turns], training)
    if gpus < 2:
        yield Absent("several GPUs over one", f"torch finds {gpus or 'none'}")


def judged(count: int, rounds: Sequence[tuple[Trained, Trained]], training: Training) -> Iterator[Figure]:
    """The efficiency of `count` processes and their waiting; each round has them and the single process."""
    some, one = rounds[0]
    name = plural(count, "GPU" if training.on_gpus else "CPU process")
    how = f"{some.precision}, batch {training.batch}"
    times = count if training.on_gpus else 1
    note = f"{training.data.what}; threads of each process: {some.threads}, of the single one: {one.threads}"
    if count > 1:
        yield Figure(
            what=f"training in {name} over {'that many times one GPU' if training.on_gpus else 'one process'}, {how}",
            left=name,
            right=f"{times} x one GPU" if training.on_gpus else "one process",
            unit="images/s",
            rounds=tuple((some.rate, times * one.rate) for some, one in rounds),
            note=note,
        )
    yield Figure(
        what=f"share of a step in {name} spent waiting{' (none: this is noise)' if count == 1 else ''}, {how}",
        left="waiting",
        right="step",
        unit="ms",
        rounds=tuple((some.step - some.step_alone, some.step) for some, _ in rounds),
        note=note,
    )


def main() -> None:
    """Measures and prints, with the conditions and both sides of every round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, nargs="+", default=BATCHES, metavar="IMAGES")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run? The figures mean nothing.")
    asked = parser.parse_args()
    for name, value in conditions().items():
        print(f"{name}: {value}")
    for found in figures(Options(rounds=asked.rounds, quick=asked.quick), asked.precision, asked.batch_size):
        print(report.line(found), flush=True)
        if isinstance(found, Figure):
            rounds = (f"{left:.4g} of {right:.4g}" for left, right in found.rounds)
            print(f"  rounds, {found.unit}: {', '.join(rounds)}; {found.note}", flush=True)


if __name__ == "__main__":
    main()
