"""Images a second of `era fit` and `era eval` against bare PyTorch loops, on this machine, in one run.

python -m tests.benchmarks.throughput [--rounds 3] [--steps 16]

Every side runs the same network on random images that are ready in memory: era through its whole
core (its own augmentation, Lightning, the run folder), the bare loop with the forward pass, the
loss, the backward pass and the optimizer's step alone; for `era eval` its one pass over uint8 images
in fp32, against the forward pass alone over images that are normalised already. Sides take turns; the
ratio of each round is printed, then the median.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from era_cli.core import devices, inference
from era_cli.core.checkpoint import new_network
from era_cli.core.data.dataset import Dataset
from era_cli.core.model import CustomResNet
from era_cli.core.normalize import Normalization
from era_cli.core.setup import Setup
from era_cli.core.training import Fit
from era_cli.listener import Listener
from era_cli.recipe import default, with_options
from era_cli.runs import create, now

SIDE, CLASSES = 32, 10
HALF = (0.5, 0.5, 0.5)


def era(device: devices.Device, batch: int, steps: int) -> float:
    """Images a second of the second epoch, as metrics.csv has it; the first one warms up."""
    count = batch * steps
    dataset = random_images(count)
    with tempfile.TemporaryDirectory() as folder:
        recipe = with_options(default(), {"batch_size": batch, "epochs": 2, "val_size": 0, "max_lr": 0.01})
        document = {
            "status": "running",
            "started": now(),
            "seconds": 0.0,
            "sessions": [],
            "recipe": recipe.as_dict(),
            "data": {"classes": list(dataset.classes), "counts": {"train": count}, "mean": HALF, "std": HALF},
        }
        fit = Fit(
            run=create(Path(folder), None, "random", document),
            setup=Setup(
                recipe=recipe,
                dataset=dataset,
                train_indices=dataset.train,
                val_indices=np.empty(0, np.int64),
                normalization=Normalization(HALF, HALF),
                device=device,
            ),
            session={},
        )
        fit.train(Listener())
        return fit.run.epochs()[-1].images_per_second


def random_images(count: int) -> Dataset:
    """A source of noise."""
    random = np.random.RandomState(0)
    return Dataset(
        name="random",
        source="random",
        classes=tuple(map(str, range(CLASSES))),
        images=random.randint(0, 256, (count, 3, SIDE, SIDE)).astype(np.uint8),
        labels=random.randint(0, CLASSES, count),
        train=np.arange(count),
        test=np.arange(1),
        content_hash="",
    )


def era_eval(network: CustomResNet, dataset: Dataset) -> float:
    """Images a second of the pass behind `era eval`."""
    started = time.monotonic()
    inference.evaluate(network, dataset, dataset.train, Normalization(HALF, HALF), Listener(), what="")
    return len(dataset.train) / (time.monotonic() - started)


def bare_forward(network: CustomResNet, dataset: Dataset) -> float:
    """Images a second of the forward pass alone, in fp32 and channels_last, over the batches of `era eval`."""
    where = next(network.parameters()).device
    pixels = Normalization(HALF, HALF)(torch.from_numpy(dataset.images)).to(where)
    batches = pixels.contiguous(memory_format=torch.channels_last).split(inference.EVAL_BATCH)
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        started = time.monotonic()
        for batch in batches:
            network(batch)
        _wait(where)
        return len(pixels) / (time.monotonic() - started)


def bare(device: devices.Device, batch: int, steps: int, precision: str, layout: torch.memory_format) -> float:
    """Images a second of the shortest honest training loop, after two steps of warming up."""
    where = device.torch_device
    recipe = default()
    network = CustomResNet(CLASSES, logit_scale=recipe.logit_scale).to(where).to(memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=recipe.momentum, nesterov=recipe.nesterov)
    images = torch.randn(batch, 3, SIDE, SIDE, device=where).contiguous(memory_format=layout)
    labels = torch.randint(0, CLASSES, (batch,), device=where)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(where.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(network(images), labels, label_smoothing=recipe.label_smoothing)
        loss.backward()
        optimizer.step()

    for _ in range(2):
        step()
    _wait(where)
    started = time.monotonic()
    for _ in range(steps):
        step()
    _wait(where)
    return batch * steps / (time.monotonic() - started)


def compare(what: str, one: Callable[[], float], other: Callable[[], float], rounds: int) -> None:
    """Prints both sides and their ratio, round by round, and the median ratio."""
    pairs = [(one(), other()) for _ in range(rounds)]
    print(what)
    for left, right in pairs:
        print(f"  {left:9,.1f} / {right:9,.1f} images/s = {left / right:.3f}")
    print(f"  median {statistics.median(left / right for left, right in pairs):.3f}", flush=True)


def main() -> None:
    """Runs the comparisons and prints the conditions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=default().batch_size)
    options = parser.parse_args()
    device = devices.choose("auto", "auto")
    print(f"torch {torch.__version__}, {device.name}, {torch.get_num_threads()} threads, {device.precision}")
    batch, steps = options.batch_size, options.steps
    compare(
        f"era fit / bare loop, channels_last, {device.precision}, batch {batch}",
        lambda: era(device, batch, steps),
        lambda: bare(device, batch, steps, device.precision, torch.channels_last),
        options.rounds,
    )
    few = max(3, steps // 4)
    compare(
        "era fit / bare loop, NCHW, fp32, batch 256",
        lambda: era(device, 256, few),
        lambda: bare(device, 256, few, "32", torch.contiguous_format),
        options.rounds,
    )
    network = new_network(default(), CLASSES).to(device.torch_device).eval()
    dataset = random_images(inference.EVAL_BATCH * few)
    bare_forward(network, dataset)  # warms up
    compare(
        "era eval / bare forward pass, channels_last, fp32",
        lambda: era_eval(network, dataset),
        lambda: bare_forward(network, dataset),
        options.rounds,
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
