"""How many processes train a run together: the options, and what torchrun, SLURM and a resumed run say. No torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from era_cli.errors import UsageError
from era_cli.place import Place
from era_cli.text import plural

if TYPE_CHECKING:
    from era_cli.runs.document import DeviceRecord

PANEL = "Several processes"


class Strategy(StrEnum):
    """How several processes share a training."""

    DDP = "ddp"


CpuProcs = Annotated[
    int | None,
    typer.Option(
        "--cpu-procs",
        help="Train on the CPU with this many processes on each machine; they divide each batch and the cores.",
        min=1,
        max=1_024,
        rich_help_panel=PANEL,
    ),
]
Nodes = Annotated[
    int | None,
    typer.Option(
        "--nodes",
        help="Number of machines. Start the same command on each, with MASTER_ADDR, MASTER_PORT and NODE_RANK set;"
        " torchrun and srun need no --nodes.",
        min=1,
        max=10_000,
        rich_help_panel=PANEL,
    ),
]
StrategyOption = Annotated[
    Strategy | None,
    typer.Option(
        "--strategy",
        help="How several processes train: ddp, the only choice so far, averages the gradients that each computes on"
        " its share of the batch.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
SyncBatchnorm = Annotated[
    bool,
    typer.Option(
        "--sync-batchnorm",
        help="Compute batch-norm statistics over the whole batch instead of each process's share; GPUs only.",
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of a command line about devices and processes."""

    gpus: str
    cpu_procs: int | None
    nodes: int | None
    sync_batchnorm: bool

    def __post_init__(self) -> None:
        if self.cpu_procs is not None and self.gpus not in ("auto", "0"):
            raise UsageError(f"--cpu-procs trains on the CPU and --gpus {self.gpus} does not: use one of them")
        if self.sync_batchnorm and (self.cpu_procs is not None or self.gpus == "0"):
            raise UsageError("--sync-batchnorm works on GPUs only: leave it out on the CPU")

    @property
    def per_node(self) -> int | None:
        """Processes on each machine as the options say; None if they do not, or say all."""
        if self.cpu_procs is not None:
            return self.cpu_procs
        return max(1, int(self.gpus)) if self.gpus.isdecimal() else None


def is_further_node(nodes: int | None) -> bool:
    """Whether this machine joins, by `--nodes` and NODE_RANK, the one that prepares the run and has its folder."""
    return (nodes or 1) > 1 and os.environ.get("NODE_RANK", "0") != "0"


@dataclass(frozen=True, kw_only=True)
class Team:
    """`per_node` processes on each of `nodes` machines, and the value of `--gpus` for each of them."""

    per_node: int
    nodes: int
    gpus: str

    @property
    def processes(self) -> int:
        """All of them."""
        return self.per_node * self.nodes


def team(asked: Asked, place: Place, recorded: DeviceRecord | None) -> Team:
    """How many processes train, by the options, by who started this one (`place`), or as a resumed run `recorded`.

    Raises:
        UsageError: these contradict each other.
    """
    gpus = "0" if asked.cpu_procs is not None else asked.gpus
    if place.processes > 1:
        for option, given, there in (
            ("--nodes", asked.nodes, place.nodes),
            ("--cpu-procs" if asked.cpu_procs is not None else "--gpus", _several(asked), place.per_node),
        ):
            if given is not None and given != there:
                where = "machines" if option == "--nodes" else "processes on each machine"
                raise UsageError(
                    f"{option} {given} contradicts {'srun' if place.by_slurm else 'torchrun'}, which started {there}"
                    f" {where}: leave the option out, or start {given}"
                )
        per_node, nodes = place.per_node, place.nodes
    else:
        per_node, nodes = _per_node(asked, recorded), _nodes(asked, recorded)
    if recorded is not None and recorded.processes > 1 and gpus == "auto":  # on the kind of device that it had
        gpus = "0" if recorded.accelerator == "cpu" else str(per_node)
    chosen = Team(per_node=per_node, nodes=nodes, gpus=gpus)
    if recorded is not None and chosen.processes != recorded.processes:
        was = "one process" if recorded.processes == 1 else plural(recorded.processes, "process")
        raise UsageError(
            f"the run was trained by {was}; with {chosen.processes}, rounding and batch-norm statistics would differ:"
            f" resume it with {recorded.processes}, or start a new run"
        )
    return chosen


def _several(asked: Asked) -> int | None:
    """What the options say, where it is a number of processes rather than a kind of device."""
    return asked.cpu_procs if asked.cpu_procs is not None or asked.gpus in ("0", "1") else asked.per_node


def _per_node(asked: Asked, recorded: DeviceRecord | None) -> int:
    if asked.gpus == "all":
        from era_cli.core.training import devices

        return max(1, devices.count_gpus())
    if asked.per_node is not None and (recorded is None or asked.cpu_procs is not None or asked.gpus not in ("0", "1")):
        return asked.per_node
    return 1 if recorded is None else recorded.processes // recorded.nodes


def _nodes(asked: Asked, recorded: DeviceRecord | None) -> int:
    return asked.nodes or (1 if recorded is None else recorded.nodes)
