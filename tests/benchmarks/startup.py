"""Wall time of era's commands on a finished run, over the time that Python takes to import what they must have.

python -m tests.benchmarks --only startup [--run FOLDER]

Every command is a fresh process, as is every `import`. A copy of the run is read, its predictions stored: the first
call of each, which warms the system's caches and stores what is missing, is not counted. Without --run a short run is
trained first; the figures are those of its images and of its 10,000 test images where they are CIFAR-10's.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import data_here, processes, short_fit
from tests.benchmarks.measuring import CannotRun, Figure, Options, Target, alternate

TERMINAL = ("typer", "rich")
FIGURES = (*TERMINAL, "numpy", "matplotlib.figure", "matplotlib.backends.backend_agg")
NETWORK = (*FIGURES, "torch")
OVER_IMPORTS = Target("at most", 1.0, of="difference")


@dataclass(frozen=True)
class Command:
    """A call of era, the modules that it cannot do without, and what is asked of its seconds."""

    arguments: tuple[str, ...]
    imports: tuple[str, ...]
    target: Target
    reads: bool = True  # a run


COMMANDS = (
    Command(("--help",), TERMINAL, Target("at most", 0.3, of="left"), reads=False),
    Command(("plot-curves",), FIGURES, Target("at most", 1.5, of="left")),
    Command(("eval",), NETWORK, OVER_IMPORTS),
    Command(("misclassified",), NETWORK, OVER_IMPORTS),
    Command(("gradcam", "--n", "10"), (*NETWORK, "pytorch_grad_cam"), OVER_IMPORTS),
)


def figures(options: Options) -> Iterator[Figure]:
    """Seconds of every command and of its imports."""
    with tempfile.TemporaryDirectory() as temporary:
        run, what = _run(Path(temporary), options)
        for command in COMMANDS:
            yield _figure(command, run, what, options.rounds)


def _figure(command: Command, run: Path, what: str, rounds: int) -> Figure:
    arguments = (*command.arguments, *(("--run", str(run)) if command.reads else ()))
    imports = f"import {', '.join(command.imports)}"

    def era() -> float:
        return processes.era(*arguments).seconds

    def bare() -> float:
        return processes.succeeded(["-c", imports]).seconds

    era()
    bare()
    name = f"era {' '.join(command.arguments)}"
    return Figure(
        what=f"wall time of {name} over its imports",
        left=name,
        right="its imports",
        unit="s",
        rounds=alternate(era, bare, rounds),
        target=command.target,
        note=f"{imports}" + (f"; {what}" if command.reads else ""),
    )


def _run(folder: Path, options: Options) -> tuple[Path, str]:
    """A finished run that may be written to, and what it is."""
    if options.run is None:
        data = data_here.data(folder / "images", options, train=10 * short_fit.TRAIN, test=short_fit.TEST)
        short_fit.fit(data, folder / "runs", folder / "cache", options)
        return folder / "runs" / short_fit.NAME, f"a run of one short epoch of {data.what}"
    try:
        document = json.loads((options.run / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CannotRun(f"{options.run} is no run folder") from None
    if document["status"] != "finished":
        raise CannotRun(f"{options.run} is not finished")
    copy = folder / "runs" / "copy"
    shutil.copytree(options.run, copy)
    tested = document["data"]["counts"]["test"]
    return copy, f"a run of {document['recipe']['epochs']} epochs, {tested:,} test images"
