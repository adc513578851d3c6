"""Do maps point at what decides? Images whose class is the colour of one small patch among others, and nothing else.

`python -m tests.benchmarks.pointing` prints, for five seeds, the share of rightly classified images whose map peaks
in that patch, for every layer and method, beside chance and a network of shuffled weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from era_cli.choices import CamMethod
from era_cli.core.data.normalize import Normalization
from era_cli.core.evaluation import inference
from era_cli.core.evaluation.classifier import TrainedClassifier
from era_cli.core.gradcam import cam
from era_cli.core.gradcam.cam import CamOptions
from era_cli.core.networks.resnet import CustomResNet
from era_cli.core.training import devices
from era_cli.listener import Listener
from era_cli.results import Images, Labels

SIDE, PATCH = 32, 8  # pixels
OWN = np.array([[220, 40, 40], [40, 200, 60], [60, 80, 220], [220, 200, 40]])  # the colours of the classes
OTHER = np.array([[200, 40, 200], [40, 200, 200], [240, 240, 240], [20, 20, 20]])  # as bright, of no class
STEPS, BATCH, PEAK = 60, 16, 0.05  # some ten seconds on one core
JUDGED = 100
NORMALIZATION = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@dataclass(frozen=True)
class Scenes:
    """Images (N, 3, H, W), their classes (N,), and the upper left corners (N, 2) of the patches that decide."""

    images: Images
    labels: Labels
    corners: Labels


def scenes(count: int, draw: np.random.Generator) -> Scenes:
    """A patch somewhere in each quarter of a noisy image: one of a class's colour, three of other colours."""
    images = draw.normal(128, 30, (count, 3, SIDE, SIDE))
    labels, corners = draw.integers(0, len(OWN), count), np.empty((count, 2), np.int64)
    half = SIDE // 2
    for row in range(count):
        for place, quarter in enumerate(draw.permutation(4)):
            top, left = np.array(divmod(int(quarter), 2)) * half + draw.integers(0, half - PATCH + 1, 2)
            color = OWN[labels[row]] if place == 0 else OTHER[draw.integers(len(OTHER))]
            patch = color[:, None, None] + draw.normal(0, 20, (3, PATCH, PATCH))
            images[row, :, top : top + PATCH, left : left + PATCH] = patch
            if place == 0:
                corners[row] = top, left
    return Scenes(images.clip(0, 255).astype(np.uint8), labels, corners)


def trained(seed: int) -> CustomResNet:
    """The real network, trained for seconds."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    network = CustomResNet(len(OWN), logit_scale=1 / 8).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=PEAK, momentum=0.9, nesterov=True)
    half = devices.choose("0", "auto").precision.startswith("bf16")
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=STEPS, anneal_strategy="linear")
    for _ in range(STEPS):
        batch = scenes(BATCH, draw)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(NORMALIZATION(torch.from_numpy(batch.images)))
            loss = F.cross_entropy(logits, torch.from_numpy(batch.labels), label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def shuffled(network: CustomResNet, seed: int) -> CustomResNet:
    """The same weights, each tensor's in another order: they know nothing."""
    other = CustomResNet(len(OWN), logit_scale=1 / 8).to(memory_format=torch.channels_last)
    other.load_state_dict(network.state_dict())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in other.parameters():
            weights.copy_(weights.flatten()[torch.randperm(weights.numel(), generator=generator)].view_as(weights))
    return other.eval()


@dataclass(frozen=True)
class Pointing:
    """`inside`: the share of `count` images whose map peaks in the patch; `chance`: of their pixels that lie in it."""

    count: int
    inside: float
    chance: float


def pointing(network: CustomResNet, shown: Scenes, *, method: str, layer: str, only_right: bool = True) -> Pointing:
    """Whether the maps of the predicted classes peak inside the patch, grown by half a cell of the map on each side."""
    rows = np.arange(len(shown.labels))
    classifier = TrainedClassifier(network, NORMALIZATION, tuple("abcd"), mirrored=False)
    logits = inference.logits(classifier, shown.images, rows, Listener(), what="evaluating")
    predicted = logits.argmax(axis=1)
    options = CamOptions(method=CamMethod(method), layer=layer)
    maps = cam.maps(classifier, shown.images, predicted[:, None], logits, options, Listener())
    heat = F.interpolate(torch.from_numpy(maps).clamp(min=0), (SIDE, SIDE), mode="bilinear")[:, 0]
    peaks = np.stack(np.divmod(heat.flatten(1).argmax(dim=1).numpy(), SIDE), axis=1)
    grown = SIDE / maps.shape[-1] / 2
    low, high = shown.corners - grown, shown.corners + PATCH - 1 + grown
    inside = ((peaks >= low) & (peaks <= high)).all(axis=1)
    pixels = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), axis=-1).reshape(-1, 1, 2)
    covered = ((pixels >= low) & (pixels <= high)).all(axis=2).mean(axis=0)
    counted = predicted == shown.labels if only_right else np.ones(len(rows), bool)
    return Pointing(int(counted.sum()), float(inside[counted].mean()), float(covered[counted].mean()))


def main() -> None:
    """Prints the table."""
    print(f"{'layer':8}{'method':12}{'trained':>24}{'chance':>9}{'shuffled':>10}")
    networks = [trained(seed) for seed in range(5)]
    shown = [scenes(JUDGED, np.random.default_rng(1000 + seed)) for seed in range(5)]
    for layer in CustomResNet.stages:
        for method in CamMethod:
            knowing = [pointing(*pair, method=method, layer=layer) for pair in zip(networks, shown, strict=True)]
            blind = [
                pointing(shuffled(network, seed), scene, method=method, layer=layer, only_right=False)
                for seed, (network, scene) in enumerate(zip(networks, shown, strict=True))
            ]
            each = " ".join(f"{100 * one.inside:.0f}" for one in knowing)
            chance = np.mean([one.chance for one in knowing])
            print(f"{layer:8}{method:12}{each:>24}{chance:9.1%}{np.mean([one.inside for one in blind]):10.1%}")


if __name__ == "__main__":
    main()
