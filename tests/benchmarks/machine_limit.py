"""How many images a second this machine could train on at most: its measured arithmetic over what an image costs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from era_cli.core.networks.resnet import CustomResNet
from era_cli.core.networks.summary import layer_rows
from era_cli.core.training import devices
from tests.benchmarks.bare_loop import wait
from tests.benchmarks.core_fit import CLASSES, SIDE

PASSES = 3  # forward, and backward once for the inputs and once for the weights
TIMES = 5  # products of which the fastest counts: it is the peak that is asked for


def operations_per_image(side: int = SIDE) -> int:
    """Floating-point operations of training on one image: two for every multiply-add of every pass."""
    _, leaves = layer_rows(CustomResNet(CLASSES), side)
    return PASSES * 2 * sum(row.multiply_adds for row in leaves)


def peak_operations_per_second(device: devices.Device, sizes: Sequence[int]) -> float:
    """Floating-point operations a second of the fastest product of square matrices, in the device's precision.

    The largest need not be the fastest: on a CPU matrices that fit its caches gain a tenth on larger ones.
    """
    return max(_operations_per_second(device, size) for size in sizes)


def images_per_second(device: devices.Device, sizes: Sequence[int]) -> float:
    """Images a second if training were nothing but products as fast as the fastest of matrices of `sizes`."""
    return peak_operations_per_second(device, sizes) / operations_per_image()


def _operations_per_second(device: devices.Device, size: int) -> float:
    where = device.torch_device
    kind = torch.bfloat16 if device.precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=where).to(kind) for _ in range(2))
    fastest = float("inf")
    for _ in range(1 + TIMES):  # the first, slower one warms up
        wait(where)
        started = time.perf_counter()
        left @ right
        wait(where)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * size**3 / fastest
