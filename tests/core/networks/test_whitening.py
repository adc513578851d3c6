from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from era_cli.core.data.dataset import Dataset, mean_and_std
from era_cli.core.data.normalize import Normalization
from era_cli.core.networks import whitening
from era_cli.core.networks.whitening import whiten, whitening_filters
from era_cli.core.training.schedules import one_cycle

SIDE = 12


def smooth(*, count: int = 300, grey: bool = False) -> npt.NDArray[np.uint8]:
    """Images whose neighbouring pixels, and channels, are much alike."""
    coarse = torch.rand(count, 1 if grey else 3, 5, 5, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(coarse, (SIDE, SIDE), mode="bicubic").clamp(0, 1)
    if not grey:
        images = 0.7 * images.mean(dim=1, keepdim=True) + 0.3 * images
    return (255 * images.expand(-1, 3, -1, -1)).round().to(torch.uint8).numpy().copy()


def source(images: npt.NDArray[np.uint8]) -> tuple[Dataset, Normalization]:
    dataset = Dataset(
        name="made",
        source="made",
        classes=("one",),
        images=images,
        labels=np.zeros(len(images), np.int64),
        train=np.arange(len(images)),
        test=np.arange(1),
        content_hash="",
    )
    return dataset, Normalization(*mean_and_std(images, dataset.train))


def answers(images: npt.NDArray[np.uint8], filters: torch.Tensor, normalization: Normalization) -> torch.Tensor:
    """What the filters answer at each place, (D, places), less its mean."""
    found = F.conv2d(normalization(torch.from_numpy(images)), filters).transpose(0, 1).flatten(1).double()
    return found - found.mean(dim=1, keepdim=True)


def test_the_filters_answer_independently_and_equally_strongly() -> None:
    images = smooth()
    dataset, normalization = source(images)
    filters = whitening_filters(dataset, dataset.train, normalization, 3)
    found = answers(images, filters, normalization)
    covariance = found @ found.T / found.shape[1]
    strong = covariance.diagonal() > 0.9  # the slack holds back the faint ones
    assert strong.sum() >= 5
    assert not strong[len(strong) // 2 :].all()
    assert (covariance[strong][:, strong] - torch.eye(int(strong.sum()))).abs().max() < 0.1
    off = covariance - covariance.diagonal().diag()
    assert off.abs().max() < 1e-3
    assert covariance.diagonal().max() <= 1.001
    raw = F.unfold(normalization(torch.from_numpy(images)), 3).transpose(1, 2).reshape(-1, 27).T
    assert torch.corrcoef(raw).abs().mean() > 0.4  # and the pixels themselves do not


def test_both_signs_come_first_and_the_other_filters_stay() -> None:
    dataset, normalization = source(smooth(grey=True))
    filters = whitening_filters(dataset, dataset.train, normalization, 3)
    assert len(filters) <= 9  # a grey image has no colours to tell apart
    conv = nn.Conv2d(3, 64, 3, bias=False)
    before = conv.weight.detach().clone()
    whiten(conv, dataset, dataset.train, normalization)
    found, count = conv.weight.detach(), len(filters)
    assert torch.equal(found[:count], filters)
    assert torch.equal(found[count : 2 * count], -filters)
    assert torch.equal(found[2 * count :], before[2 * count :])


def test_few_filters_take_the_strongest_directions() -> None:
    dataset, normalization = source(smooth())
    conv = nn.Conv2d(3, 4, 3, bias=False)
    whiten(conv, dataset, dataset.train, normalization)
    assert torch.equal(conv.weight.detach(), whitening_filters(dataset, dataset.train, normalization, 3)[:4])
    strength = answers(dataset.images, F.normalize(conv.weight.detach().flatten(1)).view_as(conv.weight), normalization)
    assert strength.var(dim=1).tolist() == sorted(strength.var(dim=1).tolist(), reverse=True)


def test_images_of_one_colour_leave_random_filters_or_finite_ones() -> None:
    dataset, normalization = source(np.full((5, 3, SIDE, SIDE), 7, np.uint8))
    conv = nn.Conv2d(3, 64, 3, bias=False)
    whiten(conv, dataset, dataset.train, normalization)
    assert conv.weight.isfinite().all()
    assert conv.weight.abs().max() < 20


def test_only_the_given_images_count_and_a_sample_is_spread_over_them(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.concatenate([smooth(), np.random.default_rng(0).integers(0, 256, (300, 3, SIDE, SIDE), np.uint8)])
    dataset, normalization = source(images)
    first, both = (whitening_filters(dataset, np.arange(stop), normalization, 3) for stop in (300, 600))
    assert not torch.allclose(first[0].abs(), both[0].abs(), atol=1e-2)
    monkeypatch.setattr(whitening, "IMAGES", 60)  # every tenth image
    sample = whitening_filters(dataset, dataset.train, normalization, 3)
    assert torch.allclose(sample[0].abs(), both[0].abs(), atol=5e-2)
    monkeypatch.setattr(whitening, "PATCHES", 60 * SIDE**2 // 9)  # and every third place in both directions
    sparse = whitening_filters(dataset, dataset.train, normalization, 3)
    assert not torch.equal(sparse, sample)
    assert torch.allclose(sparse[0].abs(), both[0].abs(), atol=5e-2)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_training_starts_from_them_where_the_recipe_says_so(wanted: bool, fit_digits: Callable[..., Any]) -> None:
    setup = fit_digits(whiten=wanted).setup
    network = setup.classifier(one_cycle(setup.recipe, 10), print).network
    filters = whitening_filters(setup.dataset, setup.train_indices, setup.normalization, 3)
    assert torch.equal(network.prep.conv.weight[: len(filters)].contiguous(), filters) == wanted
