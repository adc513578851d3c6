"""Several processes on the CPU: they compute what one would with their shares of each batch, and end together."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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
from tests.support import environment, request

ROOT = Path(__file__).parents[3]
STEPS_PER_EPOCH = 7
FIELDS: dict[str, Any] = {"batch_size": 24, "limit_train": 170, "epochs": 3}  # 21 steps
OPTIONS = (
    *("--data=digits", "--image-size=8", "--precision=fp32", "--batch-size=24", "--limit-train=170"),
    *("--dropout=0.1", "--epochs=3"),
)
DURING = 10  # a step of the second epoch

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and process groups of POSIX")


def era(
    folder: Path, *arguments: str, launcher: tuple[str, ...] = ("-m",), env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """`era` with the narrow network, one thread in each process."""
    whole = environment(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", **(env or {}))
    return subprocess.Popen(
        [sys.executable, *launcher, "tests.narrow_era", *arguments, f"--runs-dir={folder}"],
        cwd=ROOT,
        env=whole,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    """What it printed, after it ended with this exit code; none of the processes that it started is left."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, f"{process.returncode}\n{out}{err}"
    assert "Traceback" not in err
    left = subprocess.run(["pgrep", "-f", f"tests.narrow_era.*{process.args[-1]}"], capture_output=True, text=True)  # type: ignore[index]
    assert not left.stdout
    return out, err


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
        of_step, averages = [], {}
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


def test_two_processes_compute_what_one_does_slice_by_slice(two: Path, narrow_network: None, tmp_path: Path) -> None:
    weights, losses = sliced(tmp_path, 2, 21)
    run = Run(two)
    assert [row.loss for row in run.steps()] == pytest.approx(losses, abs=1e-6)
    state = checkpoint.read(run.checkpoints / artifacts.LAST)["state_dict"]
    for name, tensor in weights.items():
        torch.testing.assert_close(state[f"network.{name}"], tensor, rtol=0, atol=1e-6, msg=name)
    device = run.read().device
    assert (device.processes, device.nodes, device.threads) == (2, 1, 1)
