from __future__ import annotations

import pytest
import torch

from era_cli.core.data.normalize import Normalization
from era_cli.core.networks.resnet import CustomResNet
from era_cli.core.training.augment import Augmentation
from era_cli.core.training.module import Classifier
from era_cli.core.training.schedules import OneCycle
from era_cli.recipes import Recipe, default

HALF = (0.5, 0.5, 0.5)


def classifier(recipe: Recipe, total_steps: int = 240) -> Classifier:
    return Classifier(
        CustomResNet(10, logit_scale=recipe.logit_scale),
        recipe,
        Augmentation.of(recipe, 8, HALF),
        Normalization(HALF, HALF),
        OneCycle(recipe, total_steps),
        total_steps // recipe.epochs,
        print,
    )


def test_validation_sums_plain_cross_entropy_and_counts() -> None:
    module = classifier(default()).eval()
    images = torch.randint(0, 256, (7, 3, 8, 8), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 6])
    module.on_validation_epoch_start()
    with torch.inference_mode():
        for rows in (slice(0, 4), slice(4, 7)):  # unequal batches: means of means would be off
            module.validation_step((images[rows], labels[rows]), 0)
        logits = module.network(Normalization(HALF, HALF)(images))
    wanted = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    assert module.val_count == 7
    assert float(module.val_loss_sum) == pytest.approx(float(wanted), rel=1e-5)
    assert int(module.val_correct) == int((logits.argmax(1) == labels).sum())
    module.on_validation_epoch_start()
    assert (float(module.val_loss_sum), int(module.val_correct), module.val_count) == (0, 0, 0)
