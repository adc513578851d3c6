"""The networks that a recipe can name."""

from __future__ import annotations

import torch

from era_cli.core.networks.fastnet import FastNet
from era_cli.core.networks.network import Network
from era_cli.core.networks.resnet import CustomResNet
from era_cli.recipes import Recipe

NETWORKS: dict[str, type[Network]] = {"resnet": CustomResNet, "fastnet": FastNet}


def build(recipe: Recipe, classes: int) -> Network:
    """The recipe's network, freshly drawn from torch's global generator, in channels_last."""
    kind = NETWORKS[recipe.network]
    return kind.of(recipe, classes).to(memory_format=torch.channels_last)
