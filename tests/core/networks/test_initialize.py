from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from era_cli.core.data.dataset import Dataset, mean_and_std
from era_cli.core.data.normalize import Normalization
from era_cli.core.networks import initialize
from era_cli.core.networks.initialize import whiten, whitening_filters
from era_cli.core.networks.resnet import CustomResNet
from era_cli.recipes import default, with_options

pytestmark = pytest.mark.usefixtures("whole_network")
SIDE = 12


# Identities


def test_the_first_filters_pass_the_input_on() -> None:
    conv = nn.Conv2d(4, 6, 3, padding=1, bias=False)
    before = conv.weight.detach().clone()
    initialize.as_identities(nn.Sequential(conv))
    images = torch.rand(2, 4, 5, 5)
    assert torch.equal(conv(images)[:, :4], images)
    assert torch.equal(conv.weight[4:], before[4:])


def test_the_filters_over_colours_stay_random() -> None:
    torch.manual_seed(0)
    network = CustomResNet(10)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    initialize.as_identities(network)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    convolutions = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    assert changed == convolutions - {"prep.conv.weight"}


# Whitening


def smooth(*, count: int = 300, grey: bool = False) -> npt.NDArray[np.uint8]:
    """Images whose neighbouring pixels, and channels, are much alike."""
    coarse = torch.rand(count, 1 if grey else 3, 5, 5, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(coarse, (SIDE, SIDE), mode="bicubic").clamp(0, 1)
    if not grey:
        images = 0.7 * images.mean(dim=1, keepdim=True) + 0.3 * images
    return (255 * images.expand(-1, 3, -1, -1)).round().to(torch.uint8).numpy().copy()


def source(images: npt.NDArray[np.uint8]) -> tuple[Dataset, Normalization]:
    dataset = Dataset(
        name="smooth",
        source="smooth",
        classes=("one",),
        images=images,
        labels=np.zeros(len(images), np.int64),
        train=np.arange(len(images)),
        test=np.arange(1),
        content_hash="",
    )
    return dataset, Normalization(*mean_and_std(images, dataset.train))


def responses(images: npt.NDArray[np.uint8], filters: torch.Tensor, normalization: Normalization) -> torch.Tensor:
    """The filters' outputs at each place, (D, places), less their means."""
    outputs = F.conv2d(normalization(torch.from_numpy(images)), filters).transpose(0, 1).flatten(1).double()
    return outputs - outputs.mean(dim=1, keepdim=True)


def test_the_filters_respond_independently_and_equally_strongly() -> None:
    images = smooth()
    dataset, normalization = source(images)
    filters = whitening_filters(dataset, dataset.train, normalization, 3)
    outputs = responses(images, filters, normalization)
    covariance = outputs @ outputs.T / outputs.shape[1]
    strong = covariance.diagonal() > 0.9  # the slack holds back the faint ones
    assert strong.sum() >= 5
    assert not strong[len(strong) // 2 :].all()
    assert (covariance[strong][:, strong] - torch.eye(int(strong.sum()))).abs().max() < 0.1
    off = covariance - covariance.diagonal().diag()
    assert off.abs().max() < 1e-3
    assert covariance.diagonal().max() <= 1.001
    raw = F.unfold(normalization(torch.from_numpy(images)), 3).transpose(1, 2).reshape(-1, 27).T
    assert torch.corrcoef(raw).abs().mean() > 0.4  # and the pixels themselves do not


def test_both_signs_come_first_and_other_filters_stay() -> None:
    dataset, normalization = source(smooth(grey=True))
    filters = whitening_filters(dataset, dataset.train, normalization, 3)
    assert len(filters) <= 9  # a grey image has no colours to tell apart
    conv = nn.Conv2d(3, 64, 3, bias=False)
    before = conv.weight.detach().clone()
    whiten(conv, dataset, dataset.train, normalization)
    after, count = conv.weight.detach(), len(filters)
    assert torch.equal(after[:count], filters)
    assert torch.equal(after[count : 2 * count], -filters)
    assert torch.equal(after[2 * count :], before[2 * count :])


def test_few_filters_take_the_strongest_directions() -> None:
    dataset, normalization = source(smooth())
    conv = nn.Conv2d(3, 4, 3, bias=False)
    whiten(conv, dataset, dataset.train, normalization)
    assert torch.equal(conv.weight.detach(), whitening_filters(dataset, dataset.train, normalization, 3)[:4])
    unit = F.normalize(conv.weight.detach().flatten(1)).view_as(conv.weight)
    strength = responses(dataset.images, unit, normalization).var(dim=1).tolist()
    assert strength == sorted(strength, reverse=True)


def test_images_of_one_colour_leave_finite_filters() -> None:
    dataset, normalization = source(np.full((5, 3, SIDE, SIDE), 7, np.uint8))
    conv = nn.Conv2d(3, 64, 3, bias=False)
    whiten(conv, dataset, dataset.train, normalization)
    assert conv.weight.isfinite().all()
    assert conv.weight.abs().max() < 20


def test_the_sample_is_spread_over_the_given_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.concatenate([smooth(), np.random.default_rng(0).integers(0, 256, (300, 3, SIDE, SIDE), np.uint8)])
    dataset, normalization = source(images)
    first, both = (whitening_filters(dataset, np.arange(stop), normalization, 3) for stop in (300, 600))
    assert not torch.allclose(first[0].abs(), both[0].abs(), atol=1e-2)
    monkeypatch.setattr(initialize, "IMAGES", 60)  # every tenth image
    sample = whitening_filters(dataset, dataset.train, normalization, 3)
    assert torch.allclose(sample[0].abs(), both[0].abs(), atol=5e-2)
    monkeypatch.setattr(initialize, "PATCHES", 60 * SIDE**2 // 9)  # and every third place in both directions
    sparse = whitening_filters(dataset, dataset.train, normalization, 3)
    assert not torch.equal(sparse, sample)
    assert torch.allclose(sparse[0].abs(), both[0].abs(), atol=5e-2)


# As the recipe says


@pytest.mark.parametrize("whitened", [True, False])
@pytest.mark.parametrize("dirac", [True, False])
def test_a_network_starts_as_its_recipe_says(whitened: bool, dirac: bool) -> None:
    dataset, normalization = source(smooth())
    network = CustomResNet(10)
    recipe = with_options(default(), {"whiten": whitened, "dirac": dirac})
    network.initialize(recipe, dataset, dataset.train, normalization)
    filters = whitening_filters(dataset, dataset.train, normalization, 3)
    assert torch.equal(network.prep.conv.weight[: len(filters)], filters) == whitened
    kernel = network.layer2.conv.weight[0]  # of the first filter: (128, 3, 3)
    assert (int(kernel.count_nonzero()) == 1 and float(kernel[0, 1, 1].item()) == 1) == dirac
