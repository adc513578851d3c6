"""A folder source from its files to the last augmented batch of an epoch, without a network. For `folder_growth`.

python -m tests.benchmarks.folder_child FOLDER IMAGE_SIZE
"""

from __future__ import annotations

import json
import sys
import time

import torch

from era_cli.core.data import sources
from era_cli.core.data.batches import Batches, epoch_order
from era_cli.core.data.dataset import mean_and_std
from era_cli.core.seeds import Stream, generator
from era_cli.core.training.augment import Augmentation
from era_cli.listener import Listener
from era_cli.recipes import default


def main(folder: str, image_size: int) -> dict[str, float]:
    """Seconds of loading (decoding and all checks), of mean and deviation, and of an epoch; the images of the epoch."""
    recipe = default()
    started = time.perf_counter()
    dataset = sources.load(folder, image_size=image_size, data_dir=None, strict=True, listener=Listener())
    loaded = time.perf_counter()
    mean, _ = mean_and_std(dataset.images, dataset.train)
    counted = time.perf_counter()
    augmentation = Augmentation.of(recipe, dataset.image_size, mean)
    order = epoch_order(torch.from_numpy(dataset.train), recipe.seed, 0)
    batches = Batches(
        torch.from_numpy(dataset.images), torch.from_numpy(dataset.labels), order, recipe.batch_size, drop_last=False
    )
    seen = 0
    for step, (images, _) in enumerate(batches):
        seen += len(augmentation(images, generator(recipe.seed, Stream.AUGMENTATION, step)))
    ended = time.perf_counter()
    return {"loading": loaded - started, "statistics": counted - loaded, "epoch": ended - counted, "images": seen}


if __name__ == "__main__":
    json.dump(main(sys.argv[1], int(sys.argv[2])), sys.stdout)
