"""A checkpoint that is not a training state of its run is refused in one sentence before anything of it is used."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from era_cli.core.fit import start, training_state
from era_cli.core.networks import checkpoint
from era_cli.errors import EraError, Interrupted
from era_cli.listener import Listener
from era_cli.runs import artifacts
from era_cli.runs.run import Run
from tests.support import request

STEP = 7  # of 15, within the second epoch
LOOPS = ("loops", "fit_loop")
BATCHES = (*LOOPS, "epoch_loop.batch_progress")
STEPS = (*LOOPS, "epoch_loop.automatic_optimization.optim_progress", "optimizer", "step")
SGD = ("optimizer_states", 0)
GROUP = (*SGD, "param_groups", 0)
BUFFER = (*SGD, "state", 1, "momentum_buffer")
SCHEDULE = ("lr_schedulers", 0)
OWN = ("callbacks", "RunWriter")
WEIGHT = ("state_dict", "network.prep.conv.weight")
GONE = object()


class StopAt(Listener):
    def __init__(self, step: int) -> None:
        self._left = step

    def step_done(self) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), 2)


def stopped(folder: Path, step: int, **fields: Any) -> Run:
    """A run stopped after this step."""
    fit = start.prepare(request(folder, **fields), Listener())
    with pytest.raises(Interrupted):
        fit.train(StopAt(step))
    return fit.run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run stopped within its second epoch; not to be written to."""
    return stopped(tmp_path_factory.mktemp("runs"), STEP)


@pytest.fixture(scope="module")
def state(run: Run) -> dict[str, Any]:
    """Its training state; not to be written to."""
    return checkpoint.read(run.checkpoints / artifacts.LAST)


def altered(state: Any, place: tuple[Any, ...], change: Any) -> Any:
    """A copy with another value at `place`, what `change` makes of the present one, or none."""
    whole = copy.copy(state)
    if len(place) > 1:
        whole[place[0]] = altered(state[place[0]], place[1:], change)
    elif change is GONE:
        del whole[place[0]]
    else:
        whole[place[0]] = change(state[place[0]]) if callable(change) else change
    return whole


def reshaped(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros(3)


def poisoned(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def poison(tensor: torch.Tensor) -> torch.Tensor:
        other = tensor.clone()
        other[(0,) * other.ndim] = value
        return other

    return poison


DAMAGES: dict[str, tuple[tuple[Any, ...], Any]] = {
    "momentum of another shape": (BUFFER, reshaped),
    "momentum of one element, expanded": (BUFFER, lambda tensor: torch.zeros(()).expand(tensor.shape)),
    "momentum laid out otherwise": (BUFFER, lambda tensor: tensor.contiguous()),
    "momentum in float64": (BUFFER, lambda tensor: tensor.double()),
    "momentum NaN": (BUFFER, poisoned(float("nan"))),
    "momentum that asks for gradients": (BUFFER, lambda tensor: tensor.clone().requires_grad_()),
    "momentum of a number": (BUFFER, 1.0),
    "momentum gone": (BUFFER, GONE),
    "another key beside the momentum": (BUFFER[:-1], lambda kept: {**kept, "exp_avg": torch.zeros(1)}),
    "two tensors in one memory": (
        (*SGD, "state"),
        lambda kept: {**kept, 3: kept[2]},  # both (128, 128, 3, 3)
    ),
    "the state of a parameter gone": ((*SGD, "state", 4), GONE),
    "the state of one parameter more": ((*SGD, "state"), lambda kept: {**kept, 26: kept[25]}),
    "no state": ((*SGD, "state"), {}),
    "no optimizer": (("optimizer_states",), []),
    "optimizer states gone": (("optimizer_states",), GONE),
    "a group gone": ((*SGD, "param_groups"), lambda groups: groups[:1]),
    "a group without its momentum": ((*GROUP, "momentum"), GONE),
    "another rate": ((*GROUP, "lr"), 0.5),
    "a rate that is text": ((*GROUP, "lr"), "0.5"),
    "another momentum": ((*GROUP, "momentum"), 0.5),
    "parameters in another order": ((*GROUP, "params"), lambda numbers: numbers[::-1]),
    "no scheduler": (("lr_schedulers",), []),
    "schedulers gone": (("lr_schedulers",), GONE),
    "another total of steps": ((*SCHEDULE, "total_steps"), 500),
    "a scheduler elsewhere": ((*SCHEDULE, "last_epoch"), 3),
    "another shape of the schedule": ((*SCHEDULE, "_anneal_func_type"), "cos"),
    "a scheduler with a method replaced": ((*SCHEDULE, "step"), 1),
    "loops gone": (("loops",), GONE),
    "no loop": (("loops", "fit_loop"), {}),
    "the progress of the batches gone": (BATCHES, GONE),
    "steps that are text": ((*STEPS, "total", "completed"), "7"),
    "another count of batches": ((*BATCHES, "total", "processed"), 5),
    "another count of batches in the epoch": ((*BATCHES, "current", "ready"), 5),
    "another count of steps": ((*STEPS, "total", "completed"), 5),
    "another epoch in the loops": ((*LOOPS, "epoch_progress", "current", "processed"), 3),
    "a count that is a method of its class": ((*BATCHES, "total", "reset"), 1),
    "a huge count of validations": ((*LOOPS, "epoch_loop.val_loop.batch_progress", "current", "ready"), 10**9),
    "global_step gone": (("global_step",), GONE),
    "global_step negative": (("global_step",), -1),
    "global_step huge": (("global_step",), 10**12),
    "global_step of another epoch": (("global_step",), 12),
    "global_step of text": (("global_step",), "7"),
    "epoch of text": (("epoch",), "1"),
    "another version of Lightning": (("pytorch-lightning_version",), "latest"),
    "a weight gone": (WEIGHT, GONE),
    "a weight more": (("state_dict", "network.more"), torch.zeros(1)),
    "a weight of another shape": (WEIGHT, reshaped),
    "a weight in int64": (WEIGHT, lambda tensor: tensor.long()),
    "a weight of infinity": (WEIGHT, poisoned(float("inf"))),
    "callbacks gone": (("callbacks",), GONE),
    "another callback": (("callbacks", "Other"), {}),
    "the part of the epoch gone": ((*OWN, "steps"), GONE),
    "losses of another length": ((*OWN, "steps", "losses"), reshaped),
    "correct of more than a batch": ((*OWN, "steps", "correct"), lambda tensor: tensor + 1000),
    "rates of text": ((*OWN, "steps", "rates"), ["a", "b"]),
    "seconds negative": ((*OWN, "seconds"), -1.0),
    "rows of the epochs gone": ((*OWN, "rows", "epochs"), GONE),
    "rows of another epoch": ((*OWN, "rows", "epochs"), lambda table: table + 1),
    "an accuracy over one": ((*OWN, "rows", "epochs"), lambda table: table * torch.tensor([1, 1, 9, 1, 9, 1, 1, 1])),
    "rows of steps of another width": ((*OWN, "rows", "steps"), lambda table: table[:, :2]),
    "rows of later steps": ((*OWN, "rows", "steps"), lambda table: table + 5),
    "rows twice": ((*OWN, "rows", "steps"), lambda table: torch.cat([table, table])),
    "rows of text": ((*OWN, "rows"), "rows"),
    "environment of text": ((*OWN, "environment"), "here"),
    "environment without versions": ((*OWN, "environment", "versions"), GONE),
    "environment of one field more": ((*OWN, "environment", "more"), 1),
    "no threads": ((*OWN, "environment", "device", "threads"), 0),
}


def test_variables_of_a_cluster_change_nothing(
    run: Run, state: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    training_state.check(state, run.read(), run.checkpoints / artifacts.LAST)


@pytest.mark.parametrize(("place", "change"), DAMAGES.values(), ids=DAMAGES.keys())
def test_what_does_not_fit_is_refused_in_one_sentence(
    place: tuple[Any, ...], change: Any, state: dict[str, Any], run: Run
) -> None:
    path = run.checkpoints / artifacts.LAST
    with pytest.raises(EraError) as caught:
        training_state.check(altered(state, place, change), run.read(), path)
    assert str(caught.value).startswith(f"the checkpoint {path} does not match its run: ")
    assert len(str(caught.value)) < len(str(path)) + 200


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "adam", "max_lr": 0.003, "nesterov": False, "val_size": 0, "anneal": "cos"},
        {"momentum": 0.0, "epochs": 1},
        {"optimizer": "muon", "network": "fastnet"},
    ],
    ids=["adam", "no momentum", "muon"],
)
def test_states_of_other_recipes_fit(fields: dict[str, Any], tmp_path: Path) -> None:
    run = stopped(tmp_path, 3, **fields)
    path = run.checkpoints / artifacts.LAST
    training_state.check(checkpoint.read(path), run.read(), path)
