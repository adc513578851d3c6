from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from era_cli.core.networks import networks
from era_cli.core.networks.networks import NETWORKS
from era_cli.core.networks.resnet import CustomResNet
from era_cli.recipes import NETWORK_STAGES, default


def test_a_network_is_drawn_from_the_global_generator() -> None:
    recipe = dataclasses.replace(default(), logit_scale=0.5, dropout=0.1)
    torch.manual_seed(3)
    network = networks.build(recipe, 4)
    torch.manual_seed(3)
    plain = CustomResNet(4, dropout=0.1, logit_scale=0.5)
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in network.state_dict().items())
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(network.eval()(images), plain.to(memory_format=torch.channels_last).eval()(images))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_keeps_the_protocol(name: str) -> None:
    network = NETWORKS[name].of(dataclasses.replace(default(), network=name), 4)
    first, *_ = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    assert network.first_convolution is first
    assert (first.in_channels, network.head.out_features) == (3, 4)
    assert set(network.stages) <= {child for child, _ in network.named_children()}


def test_the_registry_holds_what_recipes_can_name() -> None:
    assert {name: network.stages for name, network in NETWORKS.items()} == NETWORK_STAGES
