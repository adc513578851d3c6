"""Images a second of `era fit` against the course project's way of training the same network, in one run.

python -m tests.benchmarks.course_way [--rounds 3]

The course's way: fp32 and NCHW, torchvision's transforms over PIL images in a DataLoader with two workers, a plain
LightningModule that logs loss and accuracy, SGD under OneCycleLR, and Lightning's Trainer as it comes (it picks a GPU
by itself, logs, saves checkpoints and shows its bar). Both sides take batches of 256 random images of 32 pixels. The
course's network had some dropout besides, which is left out here: it would only make that side slower. era runs as
`era fit` does unasked, with its own precision.

The course's steps are timed in the middle of an epoch, while the workers are filling their queues; era's over a whole
epoch. Each side warms up first.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from era_cli.core.networks.resnet import CustomResNet
from era_cli.core.training import devices
from era_cli.recipes import session12
from era_cli.results import Images, Labels
from tests.benchmarks import bare_loop, core_fit, report
from tests.benchmarks.core_fit import CLASSES, SIDE
from tests.benchmarks.measuring import Figure, Options, Target, alternate

WORKERS = 2
AHEAD = 2 * WORKERS + 1  # batches that are being made while one is trained on
WARM_UP = 2  # steps
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10, as courses have them


class PilImages(Dataset[tuple[Tensor, int]]):
    """Every image through PIL and the transforms, one by one, as torchvision's CIFAR10 hands them out."""

    def __init__(self, images: Images, labels: Labels) -> None:
        self._images, self._labels = images, labels
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(SIDE, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), int(self._labels[index])


class PlainModule(L.LightningModule):
    """A LightningModule as tutorials write it; notes when `timed` steps began and ended, and stops there."""

    def __init__(self, total_steps: int, timed: int) -> None:
        super().__init__()
        self.network = CustomResNet(CLASSES)
        self.seconds = 0.0  # of the timed steps
        self._total_steps, self._timed = total_steps, timed
        self._steps, self._began = 0, 0.0

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, classes)."""
        return self.network(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        self.log("train_loss", loss, prog_bar=True)
        self.log("train_acc", (logits.argmax(dim=1) == labels).float().mean(), prog_bar=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Reads the clock."""
        self._steps += 1
        if self._steps == WARM_UP:
            bare_loop.wait(self.device)
            self._began = time.perf_counter()
        elif self._steps == WARM_UP + self._timed:
            bare_loop.wait(self.device)
            self.seconds = time.perf_counter() - self._began
            self.trainer.should_stop = True

    def configure_optimizers(self) -> Any:
        """SGD under a one-cycle rate, set at every step."""
        recipe = session12()
        optimizer = torch.optim.SGD(
            self.parameters(), lr=recipe.max_lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.max_lr, total_steps=self._total_steps, anneal_strategy="linear"
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def images_per_second(batch: int, timed: int) -> float:
    """Images a second of `timed` steps the course's way."""
    steps = WARM_UP + timed + AHEAD  # past the timed ones, so that the workers are busy to the last of them
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (batch * steps, SIDE, SIDE, 3), np.uint8)
    data = PilImages(images, draw.integers(0, CLASSES, len(images)))
    module = PlainModule(steps, timed)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = L.Trainer(default_root_dir=folder, max_epochs=1)
        trainer.fit(module, DataLoader(data, batch_size=batch, shuffle=True, num_workers=WORKERS))
    after = [parameter.detach().cpu() for parameter in module.parameters()]
    changed = [not torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    if not module.seconds or not all(changed):
        raise RuntimeError(f"the course's way did not train: {module.seconds} s, {sum(changed)} weights changed")
    return batch * timed / module.seconds


def figures(options: Options) -> Iterator[Figure]:
    """era's images a second over the course's."""
    device = devices.choose("auto", "auto")
    batch = 8 if options.quick else session12().batch_size
    steps, timed = (2, 2) if options.quick else (6, 5) if device.accelerator == "cpu" else (128, 60)
    yield Figure(
        what=f"era fit over the course project's way, batch {batch}",
        left=f"era fit, {device.precision}",
        right="course's way, fp32",
        unit="images/s",
        rounds=alternate(
            lambda: core_fit.images_per_second(device, batch, steps),
            lambda: images_per_second(batch, timed),
            options.rounds,
        ),
        target=Target("at least", 3.5 if device.accelerator == "cpu" else 10),
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    for figure in figures(Options(rounds=parser.parse_args().rounds)):
        print(report.line(figure))


if __name__ == "__main__":
    main()
