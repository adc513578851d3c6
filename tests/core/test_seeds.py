from __future__ import annotations

import torch

from era_cli.core.seeds import Stream, derived_seed, generator


def test_a_seed_depends_on_each_of_its_three_parts() -> None:
    seeds = {derived_seed(seed, stream, index) for seed in (0, 1) for stream in Stream for index in (0, 1, 2)}
    assert len(seeds) == 2 * len(Stream) * 3
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_the_streams_are_those_of_runs_already_trained() -> None:
    # A changed value would train another network from the same recipe and seed.
    assert derived_seed(0, Stream.ORDER, 0) == 6582426945856704739
    assert [int(stream) for stream in Stream] == list(range(8))


def test_equal_parts_give_equal_draws() -> None:
    left, right = (torch.rand(5, generator=generator(1, Stream.ORDER, 2)) for _ in range(2))
    assert torch.equal(left, right)
