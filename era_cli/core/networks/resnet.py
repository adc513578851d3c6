"""The network: a small residual network for small images.

Layout of the course project, which took it from David Page's DAWNBench entry ("How to Train Your
ResNet", 2018): a 3x3 stem, three stages that double the channels and halve the image, a residual
block of two convolutions on the first and third, a global max-pool and a linear layer.
"""

from __future__ import annotations

from torch import Tensor, nn

from era_cli.core.networks.network import Network
from era_cli.recipes import NETWORK_STAGES, Recipe

CHANNELS = (64, 128, 256, 512)


class ConvBlock(nn.Sequential):
    """3x3 convolution without bias, 2x2 max-pool if asked, batch-norm, ReLU, dropout if any.

    No operation is in place: a ReLU that overwrites its input changes what Grad-CAM sees.
    """

    conv: nn.Conv2d

    def __init__(self, inputs: int, outputs: int, *, pool: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False))
        if pool:
            self.add_module("pool", nn.MaxPool2d(2))
        self.add_module("norm", nn.BatchNorm2d(outputs))
        self.add_module("relu", nn.ReLU())
        if dropout:
            self.add_module("dropout", nn.Dropout(dropout))


class Residual(nn.Sequential):
    """x + block(block(x)), all of one shape."""

    def __init__(self, channels: int, *, dropout: float = 0.0) -> None:
        super().__init__(
            ConvBlock(channels, channels, dropout=dropout),
            ConvBlock(channels, channels, dropout=dropout),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return inputs + super().forward(inputs)


class CustomResNet(Network):
    """6,573,130 parameters with 10 classes; images have 8 px or more, which three poolings halve to one.

    Args:
        classes: how many logits to return.
        dropout: share of activations zeroed after each ReLU in training, 0 for none.
        logit_scale: what the linear layer's output is multiplied by. The max-pool hands that layer
            large features; a scale below 1 keeps the first losses near log(classes), so that a high
            learning rate does not diverge (David Page 2018 uses 1/8).
    """

    stages = NETWORK_STAGES["resnet"]
    head_name = "linear"

    def __init__(self, classes: int, *, dropout: float = 0.0, logit_scale: float = 1.0) -> None:
        super().__init__()
        self.logit_scale = logit_scale
        prep, one, two, three = CHANNELS
        self.prep = ConvBlock(3, prep, dropout=dropout)
        self.layer1 = nn.Sequential(ConvBlock(prep, one, pool=True, dropout=dropout), Residual(one, dropout=dropout))
        self.layer2 = ConvBlock(one, two, pool=True, dropout=dropout)
        self.layer3 = nn.Sequential(ConvBlock(two, three, pool=True, dropout=dropout), Residual(three, dropout=dropout))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.linear = nn.Linear(three, classes)

    @classmethod
    def of(cls, recipe: Recipe, classes: int) -> CustomResNet:
        """The network that `recipe` describes."""
        return cls(classes, dropout=recipe.dropout, logit_scale=recipe.logit_scale)

    @property
    def first_convolution(self) -> nn.Conv2d:
        """The 3x3 stem."""
        return self.prep.conv

    def logits(self, features: Tensor) -> Tensor:
        """The features of the last stage (N, 512, h, w) -> logits (N, classes)."""
        return self.linear(self.pool(features).flatten(1)) * self.logit_scale
