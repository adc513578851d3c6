from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from era_cli.core.growth import Growth
from era_cli.core.model import CustomResNet
from era_cli.listener import Listener
from era_cli.recipe import Recipe, default


@pytest.mark.parametrize(
    ("first_size", "image_size", "sides"),
    [
        (0.5, 32, (16, 24, 32)),
        (0.5, 28, (16, 24, 28)),
        (0.75, 32, (24, 32)),
        (0.01, 24, (8, 16, 24)),
        (0.5, 64, (32, 40, 48, 56, 64)),
        (1.0, 32, (32,)),
        (0.5, 8, (8,)),
        (0.5, 9, (8, 9)),
    ],
)
def test_the_sides_are_multiples_of_eight_up_to_the_full_one(
    first_size: float, image_size: int, sides: tuple[int, ...]
) -> None:
    assert Growth.of(Recipe(first_size=first_size), image_size, 100).sides == sides


def test_each_smaller_side_has_an_equal_part_of_the_steps_before_the_full_one() -> None:
    growth = Growth.of(Recipe(first_size=0.5, full_size_at=0.5), 32, 40)
    assert [growth.side(step) for step in range(40)] == [16] * 10 + [24] * 10 + [32] * 20


@pytest.mark.parametrize("total", [0, 1, 3, 7, 100])
def test_few_steps_never_shrink_again_and_none_are_at_full_size(total: int) -> None:
    growth = Growth.of(Recipe(first_size=0.5), 32, total)
    sides = [growth.side(step) for step in range(total + 1)]
    assert sides == sorted(sides)
    assert sides[-1] == 32
    assert growth.side(0) == (16 if total else 32)


def test_a_recipe_without_growth_has_full_images_from_the_start() -> None:
    growth = Growth.of(default(), 32, 40)
    images = torch.rand(2, 3, 32, 32)
    assert growth(images, 0) is images
    assert growth.work(4).tolist() == [0, 1, 2, 3, 4]


def test_a_step_costs_as_many_pixels_as_it_has() -> None:
    growth = Growth(sides=(16, 24, 32), full_from=4)
    assert growth.work(5).tolist() == pytest.approx(np.cumsum([0, 0.25, 0.25, 0.5625, 0.5625, 1]).tolist())


def test_small_images_are_averages_of_the_large_ones_in_channels_last() -> None:
    growth = Growth(sides=(16, 32), full_from=10)
    images = torch.rand(3, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    small = growth(images, 0)
    assert small.shape == (3, 3, 16, 16)
    assert small.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(small.mean(dim=(2, 3)), images.mean(dim=(2, 3)), atol=0.01)
    flat = torch.full((1, 3, 32, 32), 0.25)
    assert torch.allclose(growth(flat, 0), torch.full((1, 3, 16, 16), 0.25))
    assert small.std() < images.std()  # averaged, not picked
    assert growth(images, 10) is images


def test_training_sees_the_sides_in_their_order_and_validation_the_full_one(
    fit_digits: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, int]] = []
    plain = CustomResNet.forward

    def watched(self: CustomResNet, images: torch.Tensor) -> torch.Tensor:
        seen.append((self.training, images.shape[-1]))
        return plain(self, images)

    monkeypatch.setattr(CustomResNet, "forward", watched)
    fit = fit_digits(image_size=16, first_size=0.5, full_size_at=0.6, epochs=2)
    fit.train(Listener())
    assert [side for training, side in seen if training] == [8] * 6 + [16] * 4
    assert {side for training, side in seen if not training} == {16}
    assert fit.plan().sides == (8, 16)
    assert len(fit.plan().work) == 11
