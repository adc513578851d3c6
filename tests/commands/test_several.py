from __future__ import annotations

import pytest

from era_cli.commands.several import Asked, Team, team
from era_cli.errors import UsageError
from era_cli.place import ALONE, Place
from era_cli.runs.document import DeviceRecord

BY_TORCHRUN = Place(rank=0, processes=4, nodes=2)


def asked(gpus: str = "auto", cpu_procs: int | None = None, nodes: int | None = None, **more: bool) -> Asked:
    return Asked(gpus=gpus, cpu_procs=cpu_procs, nodes=nodes, **{"sync_batchnorm": False, **more})


def trained_by(processes: int, nodes: int = 1, accelerator: str = "cpu") -> DeviceRecord:
    return DeviceRecord(
        accelerator=accelerator,  # type: ignore[arg-type]
        name="a processor",
        precision="fp32",
        threads=1,
        processes=processes,
        nodes=nodes,
    )


@pytest.mark.parametrize(
    ("options", "place", "recorded", "chosen"),
    [
        (asked(), ALONE, None, Team(per_node=1, nodes=1, gpus="auto")),
        (asked("4"), ALONE, None, Team(per_node=4, nodes=1, gpus="4")),
        (asked("4", nodes=2), ALONE, None, Team(per_node=4, nodes=2, gpus="4")),
        (asked(cpu_procs=3), ALONE, None, Team(per_node=3, nodes=1, gpus="0")),
        (asked(), BY_TORCHRUN, None, Team(per_node=2, nodes=2, gpus="auto")),
        (asked("0"), BY_TORCHRUN, None, Team(per_node=2, nodes=2, gpus="0")),
        (asked("2"), BY_TORCHRUN, None, Team(per_node=2, nodes=2, gpus="2")),
        (asked(), ALONE, trained_by(2), Team(per_node=2, nodes=1, gpus="0")),
        (asked(), ALONE, trained_by(4, 2, "cuda"), Team(per_node=2, nodes=2, gpus="2")),
        (asked("0"), ALONE, trained_by(2), Team(per_node=2, nodes=1, gpus="0")),
        (asked(cpu_procs=2), ALONE, trained_by(2), Team(per_node=2, nodes=1, gpus="0")),
        (asked("0"), ALONE, trained_by(1), Team(per_node=1, nodes=1, gpus="0")),
    ],
)
def test_who_trains(options: Asked, place: Place, recorded: DeviceRecord | None, chosen: Team) -> None:
    assert team(options, place, recorded) == chosen


@pytest.mark.parametrize(
    ("options", "place", "recorded", "says"),
    [
        (
            asked(nodes=3),
            BY_TORCHRUN,
            None,
            "--nodes 3 contradicts torchrun, which started 2 machines: leave the option out, or start 3",
        ),
        (asked("4"), BY_TORCHRUN, None, "--gpus 4 contradicts torchrun, which started 2 processes on each machine"),
        (asked(cpu_procs=1), BY_TORCHRUN, None, "--cpu-procs 1 contradicts torchrun"),
        (asked(cpu_procs=4), ALONE, trained_by(2), "was trained by 2 processes; with 4, rounding"),
        (asked("2"), ALONE, trained_by(1), "was trained by one process"),
        (asked(), BY_TORCHRUN, trained_by(2), "; with 4, rounding and batch-norm"),
    ],
)
def test_contradictions_are_named(options: Asked, place: Place, recorded: DeviceRecord | None, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        team(options, place, recorded)
