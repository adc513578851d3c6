"""Convolutions that pass their input on at first, in place of wholly random ones."""

from __future__ import annotations

from torch import nn


def start_as_identities(network: nn.Module) -> None:
    """Makes the first filters of every convolution but the one over colours copy an input channel each.

    As many as there are inputs: the others, of a layer that widens, stay random (Dirac initialisation, Zagoruyko and
    Komodakis 2017, arXiv:1706.00388; in part as in Jordan 2024, arXiv:2404.00498, section 3.3).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels > 3:
            nn.init.dirac_(module.weight[: module.in_channels])
