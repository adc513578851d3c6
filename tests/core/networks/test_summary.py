from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from era_cli.core.networks.resnet import CustomResNet
from era_cli.core.networks.summary import layer_rows

pytestmark = pytest.mark.usefixtures("whole_network")


@pytest.mark.parametrize("size", [8, 32])
def test_multiply_adds_are_half_of_torchs_operations(size: int) -> None:
    network = CustomResNet(10).eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, size, size))
    blocks, leaves = layer_rows(network, size)
    assert 2 * sum(row.multiply_adds for row in leaves) == counter.get_total_flops()
    assert sum(row.multiply_adds for row in blocks) == sum(row.multiply_adds for row in leaves)


def test_parameters_add_up_in_both_views() -> None:
    for rows in layer_rows(CustomResNet(10), 32):
        assert sum(row.parameters for row in rows) == 6_573_130


def test_only_convolutions_and_pools_have_a_kernel() -> None:
    _, leaves = layer_rows(CustomResNet(10), 32)
    kernels = {row.name: row.kernel for row in leaves}
    assert kernels["prep.conv"] == "3x3"
    assert kernels["layer1.0.pool"] == "2x2"
    assert kernels["prep.norm"] == ""


def test_looking_changes_nothing() -> None:
    network = CustomResNet(10).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    layer_rows(network, 32)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
