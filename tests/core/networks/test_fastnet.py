from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from era_cli.core.data import digits
from era_cli.core.data.normalize import Normalization
from era_cli.core.networks import networks
from era_cli.core.networks.fastnet import BIAS_EPOCHS, FastNet, Norm, Pool
from era_cli.core.networks.initialize import whitening_filters
from era_cli.core.networks.summary import layer_rows
from era_cli.recipes import default, with_options

pytestmark = pytest.mark.usefixtures("whole_network")
HALF = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_its_size_is_that_of_the_paper() -> None:
    network = FastNet(10)
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_972_792
    frozen = [parameter.numel() for parameter in network.parameters() if not parameter.requires_grad]
    assert sum(frozen) == 24 * 3 * 2 * 2 + 2 * 64 + 4 * 256
    blocks, leaves = layer_rows(network, 32)
    assert {row.name: row.output_shape for row in blocks} == {
        "whiten": (24, 31, 31),
        "layer1": (64, 15, 15),
        "layer2": (256, 7, 7),
        "layer3": (256, 3, 3),
        "pool": (256, 1, 1),
        "linear": (10,),
    }
    assert sum(row.multiply_adds for row in leaves) == 118_147_360


@pytest.mark.parametrize("size", [5, 8, 20, 33])
def test_it_takes_small_images(size: int) -> None:
    assert FastNet(4).train()(torch.randn(2, 3, size, size)).shape == (2, 4)


def test_a_pixel_is_not_pooled_away() -> None:
    assert torch.equal(Pool()(torch.full((1, 2, 1, 1), 3.0)), torch.full((1, 2, 1, 1), 3.0))
    assert Pool()(torch.arange(9.0).view(1, 1, 3, 3)).tolist() == [[[[4.0]]]]


def test_a_pooled_block_is_conv_pool_norm_silu() -> None:
    kinds = [type(module).__name__ for module in FastNet(4, dropout=0.1).get_submodule("layer1.0").children()]
    assert kinds == ["Conv2d", "Pool", "Norm", "SiLU", "Dropout"]


def test_the_norm_follows_its_last_steps_and_has_no_scale_to_train() -> None:
    norm = Norm(2).train()
    assert [name for name, parameter in norm.named_parameters() if parameter.requires_grad] == ["bias"]
    norm(torch.tensor([[1.0, 2.0], [3.0, 6.0]]).view(2, 2, 1, 1))
    assert norm.running_mean is not None
    assert norm.running_mean.tolist() == pytest.approx([0.4 * 2, 0.4 * 4])


def test_the_logit_scale_multiplies_the_logits() -> None:
    images = torch.randn(2, 3, 8, 8)
    torch.manual_seed(0)
    plain = FastNet(3).eval()(images)
    torch.manual_seed(0)
    assert torch.allclose(FastNet(3, logit_scale=1 / 9).eval()(images) * 9, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stage", FastNet.stages)
def test_it_can_be_split_behind_every_stage(stage: str) -> None:
    network, images = FastNet(3).eval(), torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        features = network.features(images, stage)
        assert torch.equal(network.classify(features, stage), network(images))
    assert -0.28 < features.min() < features.max()


@pytest.mark.parametrize("whitened", [True, False])
def test_it_starts_as_its_recipe_says_and_filters_that_whiten_stay(whitened: bool) -> None:
    plain = digits.load(8)
    noise = np.random.default_rng(0).integers(0, 256, plain.images.shape, np.uint8)  # varies in all twelve directions
    dataset = dataclasses.replace(plain, images=noise)
    recipe = with_options(default(), {"network": "fastnet", "whiten": whitened})
    network = networks.build(recipe, 10)
    assert isinstance(network, FastNet)
    network.initialize(recipe, dataset, dataset.train, HALF)
    conv = network.first_convolution
    filters = whitening_filters(dataset, dataset.train, HALF, 2, 5e-4)
    assert torch.equal(conv.weight.detach(), torch.cat([filters, -filters])) == whitened
    assert conv.weight.requires_grad != whitened
    assert conv.bias is not None
    assert not conv.bias.detach().any()
    kernel = network.get_parameter("layer2.1.conv.weight")  # square: each filter copies its channel
    assert torch.equal(kernel.detach().nonzero(), torch.tensor([[c, c, 1, 1] for c in range(256)]))
    wider = network.get_parameter("layer2.0.conv.weight")
    assert int(wider[:64].count_nonzero()) == 64
    assert int(wider[64].count_nonzero()) > 500


@pytest.mark.parametrize("frozen", [True, False])
def test_the_bias_is_trained_in_the_first_epochs(frozen: bool) -> None:
    network = FastNet(3, frozen=frozen)
    bias = network.first_convolution.bias
    assert bias is not None
    seen = []
    for epochs in (0, BIAS_EPOCHS - 0.01, BIAS_EPOCHS, 7, 1):  # back, as in a run that is resumed in this process
        network.freeze(epochs)
        seen.append(bias.requires_grad)
    assert seen == ([True, True, False, False, True] if frozen else [True] * 5)
    network.freeze(BIAS_EPOCHS)
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    assert (bias.grad is None) == frozen
    assert network.get_parameter("layer1.0.conv.weight").grad is not None


def test_no_operation_is_in_place() -> None:
    assert not any(getattr(module, "inplace", False) for module in FastNet(4, dropout=0.1).modules())
    assert sum(isinstance(module, nn.Dropout) for module in FastNet(4, dropout=0.1).modules()) == 7
