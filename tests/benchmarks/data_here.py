"""What to train `era fit` on here: the real CIFAR-10 where it is, else made-up images of its size."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from era_cli.core.data import cifar10, digits
from era_cli.listener import Listener
from tests.benchmarks import images
from tests.benchmarks.measuring import Options

CLASSES = 10
QUICK_SIDE = 8  # the smallest images that the network takes


@dataclass(frozen=True)
class Data:
    """`what` for people, the `arguments` that make `era fit` take it, and its images in bytes."""

    what: str
    arguments: tuple[str, ...]
    size: int


def data(folder: Path, options: Options, *, train: int, test: int) -> Data:
    """CIFAR-10; where it is absent, a folder source of as many images, written to `folder`; digits if `quick`."""
    if options.quick:
        small = digits.load(QUICK_SIDE)
        return Data("digits", ("--data", "digits", "--image-size", str(QUICK_SIDE)), small.images.nbytes)
    home = Path(os.environ.get("ERA_DATA_DIR") or cifar10.default_data_dir()).resolve()
    if any((place / cifar10.META_FILE).is_file() for place in (home, home / cifar10.FOLDER)):
        real = cifar10.load(cifar10.SIDE, home, Listener())
        return Data("CIFAR-10", ("--data", "cifar10", "--data-dir", str(home)), real.images.nbytes)
    for seed, (name, count) in enumerate((("train", train), ("test", test))):
        images.write_classes(folder / name, classes=CLASSES, each=count // CLASSES, side=cifar10.SIDE, seed=seed)
    count = train // CLASSES * CLASSES + test // CLASSES * CLASSES
    what = f"a folder of {count:,} made-up images, since CIFAR-10 is not here (ERA_DATA_DIR)"
    return Data(what, ("--data", str(folder)), count * 3 * cifar10.SIDE**2)
