"""Several processes on the CPU: they compute what one would with their shares of each batch, and end together."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from era_cli.core.data.batches import epoch_order
from era_cli.core.data.share import Share
from era_cli.core.fit import start
from era_cli.core.networks import checkpoint
from era_cli.core.seeds import Stream, derived_seed, generator
from era_cli.core.training import optimizers
from era_cli.core.training.schedules import OneCycle
from era_cli.listener import Listener
from era_cli.runs import artifacts
from era_cli.runs.run import Run
from tests.several import OPTIONS, ended, era, free_port
from tests.support import invoke, request

STEPS_PER_EPOCH = 7
FIELDS: dict[str, Any] = {"batch_size": 24, "limit_train": 170, "epochs": 3}  # 21 steps

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and process groups of POSIX")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes, never stopped."""
    runs = tmp_path_factory.mktemp("runs")
    out, _ = ended(era(runs, "fit", *OPTIONS, "--cpu-procs=2", "--name=two"))
    assert out.count("Images per class") == 1
    assert re.search(r"fp32, 2 processes of 1 thread\n", out)
    return runs / "two"


def sliced(folder: Path, processes: int, steps: int) -> tuple[dict[str, Tensor], list[float]]:
    """Weights and losses of one process that computes the slices one after the other, and takes their mean gradient."""
    setup = start.prepare(request(folder, **FIELDS), Listener()).setup
    classifier = setup.classifier(OneCycle(setup.recipe, setup.total_steps), print)
    network, recipe = classifier.network, setup.recipe
    optimizer = optimizers.build(recipe, network, torch.device("cpu"))
    schedule = OneCycle(recipe, setup.total_steps)(optimizer)
    network.train()
    losses = []
    images, labels = (torch.from_numpy(each) for each in (setup.dataset.images, setup.dataset.labels))
    for step in range(steps):
        epoch, place = divmod(step, setup.steps_per_epoch)
        batch = epoch_order(torch.from_numpy(setup.train_indices), 0, epoch)[
            place * recipe.batch_size : (place + 1) * recipe.batch_size
        ]
        draws = generator(0, Stream.AUGMENTATION, step)
        augmented = setup.normalization(setup.augmentation(images[batch], draws))
        optimizer.zero_grad()
        of_step: list[float] = []
        averages: dict[str, Tensor] = {}
        for rank in range(processes):
            own = Share(rank, processes).slice_of(recipe.batch_size)
            torch.manual_seed(derived_seed(0, Stream.DROPOUT, step, rank))
            before = {name: buffer.clone() for name, buffer in network.named_buffers()}
            logits = network(augmented[own])
            loss = F.cross_entropy(logits, labels[batch][own], label_smoothing=recipe.label_smoothing)
            (loss / processes).backward()
            of_step.append(loss.item())
            averages = averages or {name: buffer.clone() for name, buffer in network.named_buffers()}
            for name, buffer in network.named_buffers():
                buffer.copy_(before[name])
        for name, buffer in network.named_buffers():  # those of the first process
            buffer.copy_(averages[name])
        optimizer.step()
        schedule.step()
        losses.append(sum(of_step) / processes)
    return network.state_dict(), losses


def test_two_processes_compute_what_one_does_slice_by_slice(two: Path, tmp_path: Path) -> None:
    weights, losses = sliced(tmp_path, 2, 21)
    run = Run(two)
    assert [row.loss for row in run.steps()] == pytest.approx(losses, abs=1e-6)
    state = checkpoint.read(run.checkpoints / artifacts.LAST)["state_dict"]
    for name, tensor in weights.items():
        torch.testing.assert_close(state[f"network.{name}"], tensor, rtol=0, atol=1e-6, msg=name)
    device = run.read().device
    assert (device.processes, device.nodes, device.threads) == (2, 1, 1)
    verified = invoke("verify", "--run", str(two), code=1)
    assert (
        "cannot be verified: the run was trained by 2 processes, and verify can replay only runs of one process"
        in verified.stderr
    )
    assert {"validation", "test", "predictions"} <= set(verified.stdout.split())


def test_seeds_sweep_and_json_on_two_nodes_are_those_of_one_process(tmp_path: Path) -> None:
    options = ("fit", *OPTIONS, "--epochs=1", "--limit-test=40", "--json", "--seeds=2", "--max-lr=auto")
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    nodes = [
        era(tmp_path, *options, "--cpu-procs=1", "--nodes=2", env={**where, "NODE_RANK": str(node)})
        for node in range(2)
    ]
    (out, err), silence = (ended(node) for node in nodes)
    assert silence == ("", "")
    printed = json.loads(out)
    assert [Path(each["run"]).name for each in printed["runs"]] == ["digits-1", "digits-2"]
    assert err.count("--max-lr auto chose") == 2
    documents = [Run(Path(each["run"])).read() for each in printed["runs"]]
    assert [(document.seed, document.device.processes) for document in documents] == [(0, 2), (1, 2)]
    assert all(document.device.nodes == 2 and document.lr_find is not None for document in documents)
