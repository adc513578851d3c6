from __future__ import annotations

import pytest

from era_cli.errors import UsageError
from era_cli.place import ALONE, Place, here

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_NNODES": "2"}


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, ALONE),
        (TORCHRUN, Place(rank=5, processes=8, local_rank=1, nodes=2)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, Place(rank=1, processes=2, local_rank=0, nodes=2)),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, Place(rank=1, processes=2, local_rank=1)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, ALONE),
        (SRUN, Place(rank=5, processes=8, local_rank=1, nodes=2, by_slurm=True)),
        ({**SRUN, "SLURM_JOB_NAME": "bash"}, ALONE),
        ({**SRUN, **TORCHRUN}, Place(rank=5, processes=8, local_rank=1, nodes=2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, ALONE),  # a batch script without srun
        ({"SLURM_STEP_ID": "0", "SLURM_PROCID": "0"}, ALONE),
    ],
)
def test_the_place_is_what_the_launcher_says(variables: dict[str, str], place: Place) -> None:
    assert here(variables) == place
    assert place.per_node * place.nodes == place.processes
    assert place.node == place.rank // place.per_node


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({**TORCHRUN, "RANK": "8"}, "contradict each other"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "3"}, "contradict each other"),
        ({**SRUN, "SLURM_NNODES": "3"}, "contradict each other"),
        ({**TORCHRUN, "RANK": "first"}, "RANK is 'first', but must be a whole number"),
    ],
)
def test_what_does_not_fit_together_is_refused(variables: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        here(variables)
