from __future__ import annotations

import torch

from era_cli.core.data.batches import Batches, epoch_order

IMAGES = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 3, 2, 2)
LABELS = torch.arange(10)


def seen(batches: Batches) -> list[list[int]]:
    return [labels.tolist() for _, labels in batches]


def test_batches_follow_the_order_and_drop_the_rest_if_asked() -> None:
    order = torch.tensor([3, 1, 4, 0, 5, 9, 2])
    assert seen(Batches(IMAGES, LABELS, order, 3, drop_last=True)) == [[3, 1, 4], [0, 5, 9]]
    assert seen(Batches(IMAGES, LABELS, order, 3, drop_last=False)) == [[3, 1, 4], [0, 5, 9], [2]]


def test_images_come_with_their_labels() -> None:
    for images, labels in Batches(IMAGES, LABELS, torch.tensor([7, 2, 5, 5]), 2, drop_last=True):
        assert images[:, 0, 0, 0].tolist() == labels.tolist()


def test_skipped_batches_still_count_in_the_length() -> None:
    batches = Batches(IMAGES, LABELS, torch.arange(10), 3, skip=2, drop_last=True)
    assert len(batches) == 3
    assert seen(batches) == [[6, 7, 8]]


def test_a_validation_item_is_identical_on_repeated_reads() -> None:
    batches = Batches(IMAGES, LABELS, torch.arange(10), 4, drop_last=False)
    first, second = ([images for images, _ in batches] for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_each_epoch_has_an_order_of_its_own_that_holds_every_image_once() -> None:
    train = torch.arange(100, 150)
    orders = [epoch_order(train, seed=1, epoch=epoch) for epoch in range(3)]
    assert all(sorted(order.tolist()) == train.tolist() for order in orders)
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[2], epoch_order(train, seed=1, epoch=2))
    assert not torch.equal(orders[2], epoch_order(train, seed=2, epoch=2))
