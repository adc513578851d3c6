from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from era_cli.core.data.batches import Batches, epoch_order
from era_cli.core.data.share import Share
from era_cli.core.seeds import Stream, generator
from era_cli.core.training.augment import Augmentation
from era_cli.recipes import default


@given(st.integers(0, 400), st.integers(1, 9))
def test_every_item_is_taken_once_and_sizes_differ_by_one_at_most(count: int, of: int) -> None:
    parts = [range(count)[Share(rank, of).slice_of(count)] for rank in range(of)]
    assert [item for part in parts for item in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("of", [2, 3, 4])
def test_the_images_of_a_step_do_not_depend_on_the_number_of_processes(of: int) -> None:
    """Order and augmentation, of every step of an epoch resumed after its first."""
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (60, 3, 8, 8), np.uint8))
    labels = torch.arange(60)
    augment = Augmentation.of(default(), 8, (0.5, 0.5, 0.5))

    def steps(share: Share) -> list[tuple[torch.Tensor, torch.Tensor]]:
        order = epoch_order(torch.arange(60), 0, 1)
        batches = Batches(images, labels, order, 24, skip=1, drop_last=True, share=share)
        return [
            (augment(some, generator(0, Stream.AUGMENTATION, step), share), which)
            for step, (some, which) in enumerate(batches)
        ]

    alone = steps(Share())
    shares = [steps(Share(rank, of)) for rank in range(of)]
    assert len(alone) == 1
    for step, (some, which) in enumerate(alone):
        assert torch.equal(torch.cat([share[step][0] for share in shares]), some)
        assert torch.equal(torch.cat([share[step][1] for share in shares]), which)
