from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from era_cli.core.seeds import Stream, generator
from era_cli.core.training.augment import Augmentation
from era_cli.recipes import default, session10, session12

SIZE = 16


def augmentation(**changes: Any) -> Augmentation:
    fill = torch.tensor([9, 8, 7], dtype=torch.uint8)
    return Augmentation(**{"padding": 0, "mode": "reflect", "flip": 0.0, "cutout": 0, "fill": fill, **changes})


def draws(step: int = 0) -> torch.Generator:
    return generator(0, Stream.AUGMENTATION, step)


@pytest.fixture
def images() -> Tensor:
    """64 times one image in which every pixel of a channel is different."""
    one = torch.arange(SIZE * SIZE, dtype=torch.uint8).view(1, SIZE, SIZE)
    return torch.stack([one, one.flip(1), one.flip(2)], 1).repeat(64, 1, 1, 1)


def padded(image: Tensor, padding: int, mode: str) -> Tensor:
    kind = {"reflect": "reflect", "zero": "constant"}[mode]
    return torch.nn.functional.pad(image[None].float(), (padding,) * 4, mode=kind)[0].to(torch.uint8)


@pytest.mark.parametrize("mode", ["reflect", "zero"])
def test_each_crop_is_a_window_of_the_padded_image(mode: str, images: Tensor) -> None:
    cropped = augmentation(padding=4, mode=mode)(images, draws())
    canvas = padded(images[0], 4, mode)
    windows = {canvas[:, y : y + SIZE, x : x + SIZE].numpy().tobytes(): (y, x) for y in range(9) for x in range(9)}
    places = [windows[image.contiguous().numpy().tobytes()] for image in cropped]
    assert len(set(places)) > 30  # of 81: equal images in one batch get different crops
    assert {y for y, _ in places} == {x for _, x in places} == set(range(9))


def test_flips_are_per_image_and_as_likely_as_asked(images: Tensor) -> None:
    many = images[:1].repeat(4000, 1, 1, 1)
    flipped = augmentation(flip=0.2)(many, draws())
    mirrored = (flipped == many.flip(3)).flatten(1).all(1)
    assert ((flipped == many).flatten(1).all(1) | mirrored).all()
    assert 0.17 < mirrored.float().mean() < 0.23


def test_flips_that_alternate_are_not_drawn_here(images: Tensor) -> None:
    assert torch.equal(augmentation(flip=1.0, flip_mode="alternate")(images, draws()), images)


def test_a_flip_comes_before_the_shift_of_the_crop(images: Tensor) -> None:
    both = augmentation(padding=4, flip=1.0)(images, draws())
    canvas = padded(images[0].flip(2), 4, "reflect")
    windows = {canvas[:, y : y + SIZE, x : x + SIZE].numpy().tobytes() for y in range(9) for x in range(9)}
    assert all(image.contiguous().numpy().tobytes() in windows for image in both)


def test_cutout_is_one_whole_square_of_the_mean_colour(images: Tensor) -> None:
    white = torch.full_like(images, 255)
    cut = augmentation(cutout=5)(white, draws())
    holes = (cut != 255).all(1)
    assert (holes.flatten(1).sum(1) == 25).all()
    corners = set()
    for image, hole in zip(cut, holes, strict=True):
        rows, columns = hole.any(1).nonzero().ravel(), hole.any(0).nonzero().ravel()
        assert len(rows) == len(columns) == 5
        assert (image[:, hole] == torch.tensor([[9], [8], [7]])).all()
        corners.add((int(rows[0]), int(columns[0])))
    assert len(corners) > 30


def test_seed_and_step_decide_the_images(images: Tensor) -> None:
    augment = augmentation(padding=4, flip=0.5, cutout=5)
    assert torch.equal(augment(images, draws(3)), augment(images, draws(3)))
    assert not torch.equal(augment(images, draws(3)), augment(images, draws(4)))


def test_nothing_asked_is_nothing_done_and_the_input_stays(images: Tensor) -> None:
    before = images.clone()
    assert torch.equal(augmentation()(images, draws()), images)
    augmentation(padding=4, mode="zero", flip=0.5, cutout=5)(images, draws())
    assert torch.equal(images, before)


def test_the_result_is_channels_last(images: Tensor) -> None:
    for changes in ({}, {"cutout": 5}, {"padding": 2, "mode": "zero"}):
        assert augmentation(**changes)(images, draws()).is_contiguous(memory_format=torch.channels_last)


def test_pixels_of_a_recipe_scale_with_the_image() -> None:
    mean = (0.5, 0.25, 0.0)
    assert Augmentation.of(default(), 32, mean).padding == 4
    assert Augmentation.of(default(), 64, mean).padding == 8
    assert Augmentation.of(default(), 8, mean).cutout == 2
    assert Augmentation.of(session12(), 32, mean).mode == "zero"
    assert Augmentation.of(session10(), 32, mean).flip == 0.2
    assert Augmentation.of(default(), 32, mean).fill.tolist() == [128, 64, 0]


def test_a_full_cutout_leaves_only_the_mean(images: Tensor) -> None:
    cut = augmentation(cutout=SIZE)(images, draws())
    assert (cut == torch.tensor([9, 8, 7], dtype=torch.uint8).view(1, 3, 1, 1)).all()


def test_it_names_what_it_does() -> None:
    assert str(augmentation(padding=4, flip=0.5, cutout=5)) == "random crop, random flip, cutout"
    assert str(augmentation(padding=4)) == "random crop"
    assert str(augmentation(flip=0.5, flip_mode="alternate")) == "alternating flip"
    assert str(augmentation()) == ""
