from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from era_cli.core.networks.dirac import start_as_identities
from era_cli.core.networks.resnet import CustomResNet
from era_cli.core.training.schedules import one_cycle


def test_the_first_filters_pass_the_input_on_and_the_others_stay() -> None:
    conv = nn.Conv2d(4, 6, 3, padding=1, bias=False)
    before = conv.weight.detach().clone()
    start_as_identities(nn.Sequential(conv))
    images = torch.rand(2, 4, 5, 5)
    assert torch.equal(conv(images)[:, :4], images)
    assert torch.equal(conv.weight[4:], before[4:])


def test_the_filters_over_colours_are_left_as_they_are() -> None:
    torch.manual_seed(0)
    network = CustomResNet(10)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    start_as_identities(network)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    convolutions = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    assert changed == convolutions - {"prep.conv.weight"}


@pytest.mark.parametrize("wanted", [True, False])
def test_a_training_starts_so_where_the_recipe_says_so(wanted: bool, fit_digits: Callable[..., Any]) -> None:
    setup = fit_digits(dirac=wanted).setup
    network = setup.classifier(one_cycle(setup.recipe, 10), print).network
    kernel = network.layer2.conv.weight[0]  # of the first filter: (128, 3, 3)
    assert (int(kernel.count_nonzero()) == 1 and float(kernel[0, 1, 1].item()) == 1) == wanted
