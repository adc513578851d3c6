from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from era_cli.core.data import digits
from era_cli.core.data.share import Share
from era_cli.core.training.data_module import EraDataModule

STEPS, BATCH = 4, 16


def epoch_of(module: Any, done: int) -> list[Tensor]:
    """The batches of images left in the epoch after so many steps."""
    progress = SimpleNamespace(batch_progress=SimpleNamespace(total=SimpleNamespace(processed=done)))
    module.trainer = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=progress))
    return [images for images, _ in module.train_dataloader()]


def module(share: Share = Share(), flip: float = 0.5) -> EraDataModule:
    dataset = digits.load(8)
    train = dataset.train[: STEPS * BATCH]
    return EraDataModule(dataset, train, dataset.train[-9:], BATCH, STEPS, 3, share, flip)


def test_an_image_is_mirrored_every_other_epoch() -> None:
    def views(epoch: int) -> set[bytes]:
        return {image.numpy().tobytes() for image in torch.cat(epoch_of(module(), epoch * STEPS))}

    def mirrored(images: set[bytes]) -> set[bytes]:
        shaped = (torch.frombuffer(bytearray(image), dtype=torch.uint8).view(3, 8, 8) for image in images)
        return {image.flip(-1).contiguous().numpy().tobytes() for image in shaped}

    first, plain = views(0), {image.numpy().tobytes() for image in torch.cat(epoch_of(module(flip=0), 0))}
    assert 0.3 < len(first & plain) / len(first) < 0.7
    assert first - plain <= mirrored(plain)
    assert views(1) == mirrored(first)
    assert views(2) == first


def test_images_without_mirror_images_are_never_mirrored() -> None:
    plain, later = (
        sorted(image.sum().item() for image in torch.cat(epoch_of(module(flip=0), done))[:, :, :, 0])
        for done in (0, STEPS)
    )
    assert plain == later


def test_a_resumed_epoch_and_a_part_of_a_batch_have_the_same_flips() -> None:
    whole = epoch_of(module(), STEPS)
    for left, wanted in zip(epoch_of(module(), STEPS + 2), whole[2:], strict=True):
        assert torch.equal(left, wanted)
    parts = [epoch_of(module(Share(rank, 2)), STEPS)[0] for rank in range(2)]
    assert torch.equal(torch.cat(parts), whole[0])
