"""Where this process stands among those that train together: what torchrun, SLURM or era itself say. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from era_cli.errors import UsageError

_INTERACTIVE = ("bash", "interactive")  # names of SLURM jobs in whose shell commands run once, without srun


@dataclass(frozen=True, kw_only=True)
class Place:
    """Process `rank` (from 0) of `processes` on `nodes` machines, the `local_rank`-th on its own."""

    rank: int = 0
    processes: int = 1
    local_rank: int = 0
    nodes: int = 1
    by_slurm: bool = False

    @property
    def per_node(self) -> int:
        """Processes on each machine."""
        return self.processes // self.nodes

    @property
    def node(self) -> int:
        """The number of this machine, from 0."""
        return self.rank // self.per_node

    @property
    def is_first(self) -> bool:
        """Whether this is the one process that writes and prints."""
        return self.rank == 0


ALONE = Place()


def reports_errors(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process prints errors: of several that train together, the first on each machine."""
    return environment.get("LOCAL_RANK", environment.get("SLURM_LOCALID", "0")) == "0"


def here(environment: Mapping[str, str] = os.environ) -> Place:
    """The place of this process by its environment variables; ALONE where nothing says otherwise.

    Raises:
        UsageError: they contradict each other.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        processes = _number(environment, "WORLD_SIZE")
        # Who names neither starts one process on each machine, as Kubernetes does.
        per_node = _number(environment, "LOCAL_WORLD_SIZE", processes if "LOCAL_RANK" in environment else 1)
        rank = _number(environment, "RANK")
        return _place(
            rank=rank,
            processes=processes,
            local_rank=_number(environment, "LOCAL_RANK", rank % max(1, per_node)),
            per_node=per_node,
            by_slurm=False,
        )
    if "SLURM_STEP_ID" in environment and environment.get("SLURM_JOB_NAME") not in _INTERACTIVE:
        processes = _number(environment, "SLURM_NTASKS", 1)
        nodes = _number(environment, "SLURM_NNODES", 1)
        return _place(
            rank=_number(environment, "SLURM_PROCID"),
            processes=processes,
            local_rank=_number(environment, "SLURM_LOCALID", 0),
            per_node=processes // max(1, nodes) if nodes and not processes % nodes else 0,
            by_slurm=True,
        )
    return ALONE


def _place(*, rank: int, processes: int, local_rank: int, per_node: int, by_slurm: bool) -> Place:
    said = "SLURM_PROCID, SLURM_NTASKS and SLURM_NNODES" if by_slurm else "RANK, WORLD_SIZE and LOCAL_WORLD_SIZE"
    if not 0 <= rank < processes or per_node < 1 or processes % per_node or not 0 <= local_rank < per_node:
        raise UsageError(
            f"the environment variables {said} contradict each other: start the same number of processes on every node,"
            " one per GPU"
        )
    if processes == 1:
        return ALONE
    return Place(rank=rank, processes=processes, local_rank=local_rank, nodes=processes // per_node, by_slurm=by_slurm)


def _number(environment: Mapping[str, str], name: str, otherwise: int | None = None) -> int:
    text = environment.get(name, "" if otherwise is None else str(otherwise))
    if not text.isdecimal():
        raise UsageError(f"the environment variable {name} is {text[:20]!r}, but must be a whole number")
    return int(text)
