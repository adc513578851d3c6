"""era's side: training through its whole core, on random images that are ready in memory."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np

from era_cli.core.data.dataset import Dataset, content_hash, mean_and_std
from era_cli.core.data.normalize import Normalization
from era_cli.core.fit.request import FitRequest
from era_cli.core.fit.start import make_fit
from era_cli.core.training import devices
from era_cli.core.training.setup import Setup
from era_cli.listener import Listener
from era_cli.recipes import default, with_options
from era_cli.results import EpochRow

SIDE, CLASSES = 32, 10
EPOCHS = 2  # the first one warms up


def random_images(count: int, side: int = SIDE) -> Dataset:
    """A source of noise."""
    random = np.random.default_rng(0)
    classes = tuple(map(str, range(CLASSES)))
    images = random.integers(0, 256, (count, 3, side, side), np.uint8)
    labels, test = random.integers(0, CLASSES, count), np.arange(1)
    return Dataset(
        name="random",
        source="random",
        classes=classes,
        images=images,
        labels=labels,
        train=np.arange(count),
        test=test,
        content_hash=content_hash(classes, images, labels, test),
    )


def last_epoch(device: devices.Device, dataset: Dataset, batch: int, steps: int) -> EpochRow:
    """The second epoch, of `steps` steps, as metrics.csv has it.

    era does all that it does in a run: its own augmentation, Lightning, the run folder.
    """
    train = dataset.train[: batch * steps]
    normalization = Normalization(*mean_and_std(dataset.images, train))
    recipe = with_options(default(), {"batch_size": batch, "epochs": EPOCHS, "val_size": 0, "max_lr": 0.01})
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(
            recipe=recipe,
            dataset=dataset,
            train_indices=train,
            val_indices=np.empty(0, np.int64),
            test_indices=dataset.test,
            normalization=normalization,
            device=device,
        )
        request = FitRequest(
            recipe=recipe,
            given={},
            source=None,
            data_dir=None,
            strict=False,
            gpus="auto",
            runs_dir=Path(folder),
            name=None,
            command=[],
        )
        fit = make_fit(setup, request)
        fit.train(Listener())
        losses = [row.loss for row in fit.run.steps()]
        if len(losses) != EPOCHS * steps or not all(map(math.isfinite, losses)):
            raise RuntimeError(f"era did not train {EPOCHS * steps} steps: {losses}")
        return fit.run.epochs()[-1]


def images_per_second(device: devices.Device, batch: int, steps: int) -> float:
    """Images a second of an epoch's training, validation left out."""
    return last_epoch(device, random_images(batch * steps), batch, steps).images_per_second
