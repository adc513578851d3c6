"""The network of the recipe `fast`: a third of the ResNet's arithmetic, for training in minutes.

Built after the description of airbench94 in Jordan 2024 ("94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
arXiv:2404.00498, sections 3.1 and 3.2): a whitening convolution that is not trained, three groups of two convolutions,
and a linear layer. Its activation is SiLU in place of GELU: as smooth, and on a CPU two thirds of the time.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from era_cli.core.data.dataset import Dataset
from era_cli.core.data.normalize import Normalization
from era_cli.core.networks import initialize
from era_cli.core.networks.network import Network
from era_cli.recipes import NETWORK_STAGES, Recipe
from era_cli.results import Labels

CHANNELS = (64, 256, 256)
WHITENING_SIZE = 2  # side of the first filters: 12 directions, each with both signs
WHITENING_SLACK = 5e-4  # added to the eigenvalues; that of the paper
BIAS_EPOCHS = 3  # in which the bias of the whitening convolution is trained

# How a batch-norm averages its statistics: those of the last step weigh 0.4, so that few steps suffice.
MOMENTUM, EPSILON = 0.4, 1e-12


class Pool(nn.MaxPool2d):
    """2x2 max-pool, which leaves a feature map of one pixel as it is."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H // 2, W // 2), at least one pixel."""
        return inputs if min(inputs.shape[2:]) == 1 else super().forward(inputs)


class Norm(nn.BatchNorm2d):
    """Batch-norm with a bias but without a scale: the scale is one, and not trained."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPSILON, momentum=MOMENTUM)
        self.weight.requires_grad_(False)


class Whitening(nn.Sequential):
    """2x2 convolution without padding and its activation: one pixel less on each axis.

    Args:
        frozen: its filters are never trained, and its bias may stop being trained.
    """

    conv: nn.Conv2d

    def __init__(self, *, frozen: bool, dropout: float = 0.0) -> None:
        super().__init__()
        conv = nn.Conv2d(3, 2 * 3 * WHITENING_SIZE**2, WHITENING_SIZE)
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
        conv.weight.requires_grad_(not frozen)
        self.add_module("conv", conv)
        self.add_module("silu", nn.SiLU())
        if dropout:
            self.add_module("dropout", nn.Dropout(dropout))


class Block(nn.Sequential):
    """3x3 convolution without bias, 2x2 max-pool if asked, batch-norm, SiLU, dropout if any; nothing in place."""

    def __init__(self, inputs: int, outputs: int, *, pool: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False))
        if pool:
            self.add_module("pool", Pool())
        self.add_module("norm", Norm(outputs))
        self.add_module("silu", nn.SiLU())
        if dropout:
            self.add_module("dropout", nn.Dropout(dropout))


class FastNet(Network):
    """1,972,792 parameters with 10 classes, of which 1,440 are never trained.

    Args:
        classes: how many logits to return.
        frozen: the filters of the first convolution are never trained, and its bias for `BIAS_EPOCHS` only.
        dropout: share of activations zeroed after each SiLU in training, 0 for none.
        logit_scale: what the linear layer's output is multiplied by; 1/9 in the paper.
    """

    stages = NETWORK_STAGES["fastnet"]
    head_name = "linear"
    freezes = True

    def __init__(self, classes: int, *, frozen: bool = True, dropout: float = 0.0, logit_scale: float = 1.0) -> None:
        super().__init__()
        self.logit_scale = logit_scale
        self.frozen = frozen
        one, two, three = CHANNELS
        self.whiten = Whitening(frozen=frozen, dropout=dropout)
        self.layer1 = _group(self.whiten.conv.out_channels, one, dropout)
        self.layer2 = _group(one, two, dropout)
        self.layer3 = _group(two, three, dropout)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.linear = nn.Linear(three, classes, bias=False)

    @classmethod
    def of(cls, recipe: Recipe, classes: int) -> Self:
        """The network that `recipe` describes; filters that do not whiten are trained like any others."""
        return cls(classes, frozen=recipe.whiten, dropout=recipe.dropout, logit_scale=recipe.logit_scale)

    @property
    def first_convolution(self) -> nn.Conv2d:
        """The 2x2 whitening convolution."""
        return self.whiten.conv

    def logits(self, features: Tensor) -> Tensor:
        """The features of the last stage (N, 256, h, w) -> logits (N, classes)."""
        return self.linear(self.pool(features).flatten(1)) * self.logit_scale

    def initialize(self, recipe: Recipe, dataset: Dataset, indices: Labels, normalization: Normalization) -> None:
        """Whitens with less slack than the base class: filters that are not trained need not be held back."""
        if recipe.dirac:
            initialize.as_identities(self)
        if recipe.whiten:
            initialize.whiten(self.first_convolution, dataset, indices, normalization, slack=WHITENING_SLACK)

    def freeze(self, epochs: float) -> None:
        """Stops training the bias of the whitening convolution after `BIAS_EPOCHS`, and with it saves a gradient."""
        bias = self.first_convolution.bias
        assert isinstance(bias, torch.nn.Parameter)
        bias.requires_grad_(not self.frozen or epochs < BIAS_EPOCHS)


def _group(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(Block(inputs, outputs, pool=True, dropout=dropout), Block(outputs, outputs, dropout=dropout))
