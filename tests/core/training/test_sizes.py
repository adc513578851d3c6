from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from era_cli.core.training import sizes
from era_cli.recipes import default


def sides(total: int, image_size: int = 32, initial: int = 20, until: float = 0.5) -> list[int]:
    recipe = dataclasses.replace(default(), initial_size=initial, grow_until=until)
    return [sizes.at(recipe, image_size, step, total) for step in range(total)]


def test_images_grow_in_equal_phases_to_their_full_size() -> None:
    assert sides(24) == [20] * 4 + [24] * 4 + [28] * 4 + [32] * 12
    assert sides(24, until=0.25) == [20] * 2 + [24] * 2 + [28] * 2 + [32] * 18
    assert sides(10, until=1.0, initial=22) == [22] * 4 + [26] * 3 + [30] * 3


@pytest.mark.parametrize("total", [1, 2, 7, 200])
def test_they_are_full_from_the_start_by_default(total: int) -> None:
    assert {sizes.at(default(), 48, step, total) for step in range(total)} == {48}


def test_sizes_scale_with_the_image_and_have_a_floor() -> None:
    assert sides(24, image_size=64)[::4] == [40, 48, 56, 64, 64, 64]
    assert sides(24, image_size=12)[::4] == [8, 9, 10, 12, 12, 12]
    assert set(sides(24, image_size=8)) == {8}


@pytest.mark.parametrize("total", range(2, 60))
def test_they_are_full_in_the_second_half(total: int) -> None:
    grown = sides(total)
    assert grown == sorted(grown)
    assert grown.count(32) == total // 2


def test_shrinking_is_antialiased_on_bytes() -> None:
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8).to(memory_format=torch.channels_last)
    small = sizes.resized(images, 20)
    assert small.dtype == torch.uint8
    assert small.shape == (4, 3, 20, 20)
    exact = F.interpolate(images.float(), (20, 20), mode="bilinear", antialias=True)
    assert (small.float() - exact).abs().max() <= 1
    assert sizes.resized(images, 32) is images
