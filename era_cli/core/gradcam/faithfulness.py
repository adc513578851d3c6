"""How faithful a map is: the probability that is lost with the pixels that it highlights. Loads no lightning."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from torch import Tensor
from torch.nn import functional as F

from era_cli.core.evaluation.classifier import TrainedClassifier
from era_cli.listener import Listener
from era_cli.results import Faithfulness, Images, Labels

SHARE = 0.25
MOST_IMAGES = 100  # a mean over these is precise to a few hundredths, and each takes three systems of equations,
MOST_PIXELS = MOST_IMAGES * 64**2  # as large as a share of the image, so that of large images fewer are measured

_NOISE = 0.01  # of the imputation, in deviations of the data, as in the library


def measure(
    classifier: TrainedClassifier,
    images: Images,
    targets: Labels,
    maps: npt.NDArray[np.float32],
    listener: Listener,
    *,
    seed: int = 0,
) -> Faithfulness:
    """How much probability the classes `targets` (N,) lose when images (N, 3, H, W) uint8 lose their hottest pixels.

    The hottest quarter of the pixels of the maps (N, h, w), enlarged bilinearly, is replaced by noisy linear
    imputation (ROAD: Rong et al. 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods",
    arXiv:2202.00449), which unlike a grey patch leaves no edge that could be mistaken for something. The loss with
    random pixels, and with the same shape shifted elsewhere, tells how much of that is due to the maps.

    Args:
        seed: of the random pixels, the shifts, the order among pixels equally hot, and the noise.
    """
    side = images.shape[-1]
    most = max(1, min(MOST_IMAGES, MOST_PIXELS // side**2))
    images, targets, maps = images[:most], targets[:most], maps[:most]
    draw = np.random.default_rng(seed)
    imputer = NoisyLinearImputer(noise=_NOISE)
    lost: list[npt.NDArray[np.float64]] = []
    with (
        torch.random.fork_rng(devices=[]),
        classifier.evaluating(),
        torch.no_grad(),
        listener.work("measuring faithfulness", len(images)) as advance,
    ):
        torch.manual_seed(seed)
        for image, target, heat in zip(images, targets, maps, strict=True):
            pixels = classifier.normalization(torch.from_numpy(image[None]))
            large = F.interpolate(torch.from_numpy(heat[None, None]), (side, side), mode="bilinear")[0, 0].numpy()
            moved = np.roll(large, draw.integers(1, side, 2), axis=(0, 1))
            heats = (large, draw.random(large.shape), moved)
            replaced = [imputer(pixels[0].contiguous(), _kept(heat, draw)) for heat in heats]
            logits = classifier.network(torch.stack([pixels[0], *replaced]).to(classifier.device))
            probabilities = logits.softmax(dim=1)[:, target]
            lost.append((probabilities[0] - probabilities[1:]).cpu().double().numpy())
            advance(1)
    hottest, random, moved_loss = (float(value) for value in np.mean(lost, axis=0))
    return Faithfulness(count=len(images), share=SHARE, hottest=hottest, random=random, moved=moved_loss)


def _kept(heat: npt.NDArray[np.floating], draw: np.random.Generator) -> Tensor:
    """1 for the pixels (H, W) to keep, 0 for the hottest SHARE of them; ties are broken at random."""
    coldest_first = np.lexsort((draw.random(heat.size), heat.ravel()))
    kept = np.ones(heat.size, np.float32)
    kept[coldest_first[heat.size - round(SHARE * heat.size) :]] = 0
    return torch.from_numpy(kept.reshape(heat.shape))
