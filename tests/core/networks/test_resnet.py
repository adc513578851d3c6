from __future__ import annotations

import pytest
import torch
from torch import nn

from era_cli.core.networks.resnet import ConvBlock, CustomResNet
from era_cli.core.networks.summary import layer_rows

pytestmark = pytest.mark.usefixtures("whole_network")


def test_it_has_the_parameters_of_the_course_project() -> None:
    assert sum(parameter.numel() for parameter in CustomResNet(10).parameters()) == 6_573_130


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_it_returns_one_logit_per_class(classes: int) -> None:
    torch.manual_seed(2)
    logits = CustomResNet(classes).eval()(torch.randn(3, 3, 32, 32))
    assert logits.shape == (3, classes)
    assert (logits < 0).any()  # logits, no probabilities
    assert not torch.allclose(logits.sum(dim=1), torch.ones(3))


def test_its_stages_halve_the_image_down_to_four_pixels() -> None:
    blocks, _ = layer_rows(CustomResNet(10), 32)
    assert {row.name: row.output_shape for row in blocks} == {
        "prep": (64, 32, 32),
        "layer1": (128, 16, 16),
        "layer2": (256, 8, 8),
        "layer3": (512, 4, 4),
        "pool": (512, 1, 1),
        "linear": (10,),
    }


@pytest.mark.parametrize("size", [8, 20, 33, 64])
def test_it_takes_images_of_any_side_from_eight_up(size: int) -> None:
    assert CustomResNet(4).eval()(torch.randn(2, 3, size, size)).shape == (2, 4)


def test_the_residual_blocks_add_their_input() -> None:
    network = CustomResNet(10).eval()
    for stage, channels in ((network.layer1, 64), (network.layer3, 256)):
        block, residual = stage
        for parameter in residual.parameters():
            nn.init.zeros_(parameter)
        before = block(torch.randn(2, channels, 8, 8))
        assert torch.equal(residual(before), before)


def test_a_pooled_block_is_conv_pool_norm_relu() -> None:
    kinds = [type(module).__name__ for module in ConvBlock(3, 8, pool=True, dropout=0.1)]
    assert kinds == ["Conv2d", "MaxPool2d", "BatchNorm2d", "ReLU", "Dropout"]


def test_no_operation_is_in_place() -> None:
    assert not any(getattr(module, "inplace", False) for module in CustomResNet(10, dropout=0.1).modules())


def test_dropout_is_in_every_block_or_none() -> None:
    def dropouts(network: nn.Module) -> list[float]:
        return [module.p for module in network.modules() if isinstance(module, nn.Dropout)]

    assert dropouts(CustomResNet(10)) == []
    assert dropouts(CustomResNet(10, dropout=0.05)) == [0.05] * 8


def test_the_logit_scale_multiplies_the_logits() -> None:
    images = torch.randn(2, 3, 32, 32)
    torch.manual_seed(0)
    plain = CustomResNet(10).eval()(images)
    torch.manual_seed(0)
    assert torch.allclose(CustomResNet(10, logit_scale=0.125).eval()(images) * 8, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", CustomResNet.stages)
def test_it_can_be_split_behind_every_stage(stage: str) -> None:
    torch.manual_seed(0)
    network = CustomResNet(10, logit_scale=0.125)
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        network.train()(images)
        network.eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.bias)
        features = network.features(images, stage)
        assert torch.equal(network.classify(features, stage), network(images))
        assert features.min() == 0  # Grad-CAM's weights are read as evidence for or against
        assert features.max() > 0
        caught: list[torch.Tensor] = []
        network.get_submodule(stage).register_forward_hook(lambda module, inputs, output: caught.append(output))
        network(images)
    assert torch.equal(caught[0], features)
