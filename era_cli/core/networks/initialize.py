"""How a network's convolutions start, in place of wholly random weights: as identities, and as whitening filters.

Neighbouring pixels and the three channels are much alike, so that most random filters answer to brightness alone. The
eigenvectors of the patches' covariance, each divided by the root of its eigenvalue, answer independently and with
equal strength (PCA whitening: Hyvärinen and Oja 2000, section 5.2). That they speed up a first layer is known from
David Page 2019 ("How to Train Your ResNet", part 8) and Jordan 2024 (arXiv:2404.00498, section 3.2), who freeze them,
as FastNet does. In the ResNet they are trained with the rest. The batch-norm behind them would give any filter unit
strength; what the division does there is to hold back the faint ones: the larger a weight before a batch-norm, the less
a step turns it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from era_cli.core.data.dataset import Dataset
from era_cli.core.data.normalize import Normalization
from era_cli.results import Labels

IMAGES = 2_000  # to estimate the covariance from
PATCHES = 2_000_000  # of them at most, about: all of 32 px, and every so many pixels of larger ones
SLACK = 1e-2  # added to the eigenvalues, lest the faintest directions get huge weights; 5e-4 in Jordan, 1e-2 in Page
FAINTEST = 1e-6  # of the largest eigenvalue: what rounding to a byte gives; below lie the colours of grey images
_AT_ONCE = 100_000  # patches to extract at once


def as_identities(network: nn.Module) -> None:
    """Makes the first filters of every convolution but the one over colours copy an input channel each.

    As many as there are inputs: the others, of a layer that widens, stay random (Dirac initialisation, Zagoruyko and
    Komodakis 2017, arXiv:1706.00388; in part as in Jordan 2024, arXiv:2404.00498, section 3.3).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels > 3:
            nn.init.dirac_(module.weight[: module.in_channels])


def whiten(
    conv: nn.Conv2d, dataset: Dataset, indices: Labels, normalization: Normalization, *, slack: float = SLACK
) -> None:
    """Sets the first filters of `conv` to the whitening filters of the images at `indices`, and to their negatives.

    A ReLU, which comes later, lets through one sign alone. Filters that are left over stay as they are: those
    beyond twice the directions that the patches vary in.
    """
    filters = whitening_filters(dataset, indices, normalization, conv.kernel_size[0], slack)
    both = torch.cat([filters, -filters])[: conv.out_channels]
    with torch.no_grad():
        conv.weight[: len(both)] = both


def whitening_filters(
    dataset: Dataset, indices: Labels, normalization: Normalization, size: int, slack: float = SLACK
) -> Tensor:
    """Filters (D, 3, size, size), the strongest direction first; D at most 3 * size ** 2."""
    values, vectors = torch.linalg.eigh(_covariance(dataset, indices, normalization, size))
    values, vectors = values.flip(0), vectors.flip(1)  # eigh has the smallest first
    kept = values > FAINTEST * values[0]
    filters = (vectors / (values + slack).sqrt())[:, kept]
    return filters.T.reshape(int(kept.sum()), 3, size, size).float()


def _covariance(dataset: Dataset, indices: Labels, normalization: Normalization, size: int) -> Tensor:
    """Of the patches (3, size, size), flattened: (D, D) float64, from images spread evenly over `indices`."""
    area = dataset.image_size**2
    chosen = indices[:: max(1, len(indices) // IMAGES)]
    stride = max(1, round(math.sqrt(len(chosen) * area / PATCHES)))
    count, width = 0, 3 * size**2
    total, products = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    step = max(1, _AT_ONCE * stride**2 // area)
    for start in range(0, len(chosen), step):
        images = normalization(torch.from_numpy(dataset.images[chosen[start : start + step]]))
        patches = F.unfold(images, size, stride=stride).transpose(1, 2).reshape(-1, width)
        count += len(patches)
        total += patches.sum(dim=0)
        products += patches.T @ patches
    mean = total / count
    return products / count - mean.outer(mean)
