"""The other side: the shortest honest PyTorch loops, on images that are ready in memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from era_cli.core.data.batches import EVALUATION_BATCH
from era_cli.core.data.dataset import Dataset
from era_cli.core.data.normalize import Normalization
from era_cli.core.networks.resnet import CustomResNet
from era_cli.core.training import devices
from era_cli.recipes import default
from tests.benchmarks.core_fit import CLASSES, SIDE

HALF = (0.5, 0.5, 0.5)


def training_step(
    device: devices.Device, batch: int, precision: str, layout: torch.memory_format = torch.channels_last
) -> Callable[[], None]:
    """A function that does one step of era's network on one batch: forward pass, loss, backward pass, optimizer."""
    where = device.torch_device
    recipe = default()
    network = CustomResNet(CLASSES, logit_scale=recipe.logit_scale).to(where).to(memory_format=layout)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=0.01,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        fused=where.type == "cpu" or None,  # as era's is
    )
    images = torch.randn(batch, 3, SIDE, SIDE, device=where).contiguous(memory_format=layout)
    labels = torch.randint(0, CLASSES, (batch,), device=where)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(where.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(network(images), labels, label_smoothing=recipe.label_smoothing)
        loss.backward()
        optimizer.step()

    return step


def seconds_each(work: Callable[[], object], times: int, device: devices.Device) -> float:
    """Seconds of one call of `work`, the mean over `times` calls; two before them, or a quarter as many, warm up."""
    for _ in range(max(2, times // 4)):
        work()
    wait(device.torch_device)
    started = time.perf_counter()
    for _ in range(times):
        work()
    wait(device.torch_device)
    return (time.perf_counter() - started) / times


def images_per_second(
    device: devices.Device,
    batch: int,
    steps: int,
    precision: str,
    layout: torch.memory_format = torch.channels_last,
) -> float:
    """Images a second of training."""
    return batch / seconds_each(training_step(device, batch, precision, layout), steps, device)


def forward_images_per_second(network: nn.Module, dataset: Dataset) -> float:
    """Images a second of the forward pass alone, in fp32 and channels_last, over the batches of `era eval`."""
    where = next(network.parameters()).device
    pixels = Normalization(HALF, HALF)(torch.from_numpy(dataset.images)).to(where)
    batches = pixels.contiguous(memory_format=torch.channels_last).split(EVALUATION_BATCH)
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        started = time.perf_counter()
        for batch in batches:
            network(batch)
        wait(where)
        return len(pixels) / (time.perf_counter() - started)


def wait(device: torch.device) -> None:
    """Waits until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
