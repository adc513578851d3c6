from __future__ import annotations

import torch

from era_cli.core.data.batches import Batches, alternating, epoch_order

IMAGES = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 3, 2, 2)
LABELS = torch.arange(10)
ORDER = torch.tensor([3, 1, 4, 0, 5, 9, 2])


def labels_of(batches: Batches) -> list[list[int]]:
    for images, labels in batches:
        assert images[:, 0, 0, 0].tolist() == labels.tolist()
    return [labels.tolist() for _, labels in batches]


def test_batches_follow_the_order() -> None:
    assert labels_of(Batches(IMAGES, LABELS, ORDER, 3, drop_last=True)) == [[3, 1, 4], [0, 5, 9]]
    assert labels_of(Batches(IMAGES, LABELS, ORDER, 3, drop_last=False)) == [[3, 1, 4], [0, 5, 9], [2]]


def test_skipped_batches_still_count_in_the_length() -> None:
    batches = Batches(IMAGES, LABELS, torch.arange(10), 3, skip=2, drop_last=True)
    assert len(batches) == 3
    assert labels_of(batches) == [[6, 7, 8]]


def test_each_epoch_has_its_own_order_of_all_images() -> None:
    train = torch.arange(100, 150)
    orders = [epoch_order(train, seed=1, epoch=epoch) for epoch in range(3)]
    assert all(sorted(order.tolist()) == train.tolist() for order in orders)
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[2], epoch_order(train, seed=1, epoch=2))
    assert not torch.equal(orders[2], epoch_order(train, seed=2, epoch=2))


def test_flips_alternate_from_a_random_part_of_the_images() -> None:
    first, second, third = (alternating(4_000, 0.3, seed=1, epoch=epoch) for epoch in range(3))
    assert 0.27 < first.float().mean() < 0.33
    assert torch.equal(second, ~first)
    assert torch.equal(third, first)
    assert not torch.equal(first, alternating(4_000, 0.3, seed=2, epoch=0))


def test_batches_mirror_the_images_that_they_are_told_to() -> None:
    images = torch.arange(2 * 3 * 2 * 2, dtype=torch.uint8).view(2, 3, 2, 2)
    mirrored = torch.tensor([False, True])
    ((batch, labels),) = Batches(images, torch.arange(2), torch.tensor([1, 0]), 2, drop_last=True, mirrored=mirrored)
    assert labels.tolist() == [1, 0]
    assert torch.equal(batch, torch.stack([images[1].flip(-1), images[0]]))
    assert torch.equal(images[1], torch.arange(12, 24, dtype=torch.uint8).view(3, 2, 2))  # the images themselves stay
