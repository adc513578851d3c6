from __future__ import annotations

from typing import Any

import pytest
import torch

from era_cli.core.data.normalize import Normalization
from era_cli.core.networks.resnet import CustomResNet
from era_cli.core.training.augment import Augmentation
from era_cli.core.training.module import Classifier
from era_cli.core.training.schedules import one_cycle
from era_cli.recipes import Recipe, default, session10, session12

HALF = (0.5, 0.5, 0.5)


def classifier(recipe: Recipe, total_steps: int = 240) -> Classifier:
    return Classifier(
        CustomResNet(10, logit_scale=recipe.logit_scale),
        recipe,
        Augmentation.of(recipe, 8, HALF),
        Normalization(HALF, HALF),
        one_cycle(recipe, total_steps),
        print,
    )


@pytest.mark.parametrize(
    ("recipe", "kind", "expected"),
    [
        (session12(), torch.optim.SGD, {"momentum": 0.9, "nesterov": False, "weight_decay": 5e-4}),
        (default(), torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
        (session10(), torch.optim.Adam, {"betas": (0.9, 0.999), "weight_decay": 1e-4}),
    ],
)
def test_the_optimizer_is_the_recipes(
    recipe: Recipe, kind: type[torch.optim.Optimizer], expected: dict[str, Any]
) -> None:
    optimizer = classifier(recipe).configure_optimizers()["optimizer"]
    assert isinstance(optimizer, kind)
    weights, norm_and_bias = optimizer.param_groups
    assert {key: weights[key] for key in expected} == expected
    assert all(parameter.ndim > 1 for parameter in weights["params"])
    assert all(parameter.ndim == 1 for parameter in norm_and_bias["params"])
    assert norm_and_bias["weight_decay"] == (expected["weight_decay"] if recipe.decay_norm_and_bias else 0)
    assert len(weights["params"]) + len(norm_and_bias["params"]) == 8 * 3 + 2


def test_validation_adds_up_plain_cross_entropy_and_whole_counts() -> None:
    module = classifier(default()).eval()
    images = torch.randint(0, 256, (7, 3, 8, 8), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 6])
    module.on_validation_epoch_start()
    with torch.inference_mode():
        for part in (slice(0, 4), slice(4, 7)):  # unequal batches: means of means would be off
            module.validation_step((images[part], labels[part]), 0)
        logits = module.network(Normalization(HALF, HALF)(images))
    wanted = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    assert module.val_count == 7
    assert float(module.val_loss_sum) == pytest.approx(float(wanted), rel=1e-5)
    assert int(module.val_correct) == int((logits.argmax(1) == labels).sum())
    module.on_validation_epoch_start()
    assert (float(module.val_loss_sum), int(module.val_correct), module.val_count) == (0, 0, 0)
