"""What augmenting a batch costs beside the training step that follows: CIFAR-10's size, era's default batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from era_cli.core.seeds import Stream, generator
from era_cli.core.training import devices
from era_cli.core.training.augment import Augmentation
from era_cli.recipes import default
from tests.benchmarks import bare_loop
from tests.benchmarks.bare_loop import HALF
from tests.benchmarks.core_fit import SIDE
from tests.benchmarks.measuring import Figure, Options, alternate


def figures(options: Options) -> Iterator[Figure]:
    """Milliseconds of both. The step is forward pass, loss, backward pass and optimizer."""
    device = devices.choose("auto", "auto")
    recipe = default()
    batch = 8 if options.quick else recipe.batch_size
    few, many = (2, 2) if options.quick else (4, 50) if device.accelerator == "cpu" else (100, 100)
    augmentation = Augmentation.of(recipe, SIDE, HALF)
    images = torch.randint(0, 256, (batch, 3, SIDE, SIDE), dtype=torch.uint8, device=device.torch_device)
    numbers = itertools.count()

    def augment() -> None:
        augmentation(images, generator(recipe.seed, Stream.AUGMENTATION, next(numbers)))

    step = bare_loop.training_step(device, batch, device.precision)
    yield Figure(
        what=f"augmentation of a batch over its training step, {device.precision}, batch {batch}, {SIDE} px",
        left="augmentation",
        right="training step",
        unit="ms",
        rounds=alternate(
            lambda: 1e3 * bare_loop.seconds_each(augment, many, device),
            lambda: 1e3 * bare_loop.seconds_each(step, few, device),
            options.rounds,
        ),
        note=f"{augmentation}",
    )
