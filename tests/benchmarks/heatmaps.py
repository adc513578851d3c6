"""Maps a second of `era gradcam`'s core against the grad-cam library's plain use, on this machine, in one run.

python -m tests.benchmarks.heatmaps [--rounds 3] [--images 128] [--layer layer3]

Both make a Grad-CAM map for the predicted class of the same random images with the same network, in fp32: era in
batches, its backward pass ending at the layer; the library as its README shows it, called for one image after the
other. Sides take turns; the ratio of each round is printed, then the median. A first round warms up and is not
counted. Before that it is checked that both make the same maps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch.nn import functional as F

from era_cli.choices import CamMethod
from era_cli.core.data.normalize import Normalization
from era_cli.core.evaluation import inference
from era_cli.core.evaluation.classifier import TrainedClassifier
from era_cli.core.gradcam import cam
from era_cli.core.gradcam.cam import CamOptions
from era_cli.core.networks import networks
from era_cli.core.networks.resnet import CustomResNet
from era_cli.listener import Listener
from era_cli.recipes import default
from tests.benchmarks import report
from tests.benchmarks.measuring import Figure, Options, alternate

SIDE, CLASSES = 32, 10
IMAGES = 128
NORMALIZATION = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def figures(options: Options) -> Iterator[Figure]:
    """The default layer."""
    yield _figure(2 if options.quick else IMAGES, CustomResNet.stages[-1], options.rounds)


def _figure(count: int, layer: str, rounds: int) -> Figure:
    torch.manual_seed(0)
    network = networks.build(default(), CLASSES).eval()
    classifier = TrainedClassifier(network, NORMALIZATION, tuple("0123456789"), mirrored=True)
    options = CamOptions(method=CamMethod("gradcam"), layer=layer)
    images = np.random.default_rng(0).integers(0, 256, (count, 3, SIDE, SIDE), np.uint8)
    rows = np.arange(len(images))
    logits = inference.logits(classifier, images, rows, Listener(), what="evaluating")
    targets = logits.argmax(axis=1)[:, None]

    def era() -> np.ndarray:
        return cam.maps(classifier, images, targets, logits, options, Listener())[:, 0]

    def library() -> np.ndarray:
        explain = GradCAM(model=network, target_layers=[network.get_submodule(layer)])
        maps = []
        for image, (target,) in zip(images, targets, strict=True):
            pixels = NORMALIZATION(torch.from_numpy(image[None]))
            maps.append(explain(input_tensor=pixels, targets=[ClassifierOutputTarget(target)])[0])
        explain.activations_and_grads.release()
        return np.stack(maps)

    _check(era(), library())
    return Figure(
        what=f"maps of era gradcam's core over the grad-cam library image by image, {layer}, fp32, CPU",
        left="era",
        right="library",
        unit="maps/s",
        rounds=alternate(lambda: _rate(era, count), lambda: _rate(library, count), rounds),
    )


def _check(ours: np.ndarray, theirs: np.ndarray) -> None:
    """The library enlarges a map, from whose values it took the least, and scales it to its maximum."""
    rectified = np.maximum(ours, 0)
    rectified -= rectified.min(axis=(1, 2), keepdims=True)
    large = F.interpolate(torch.from_numpy(rectified)[:, None], (SIDE, SIDE), mode="bilinear")[:, 0].numpy()
    large -= large.min(axis=(1, 2), keepdims=True)
    large /= np.maximum(large.max(axis=(1, 2), keepdims=True), 1e-12)
    np.testing.assert_allclose(large, theirs, atol=1e-2)


def _rate(work: Callable[[], object], images: int) -> float:
    started = time.perf_counter()
    work()
    return images / (time.perf_counter() - started)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--layer", choices=CustomResNet.stages, default=CustomResNet.stages[-1])
    asked = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {asked.images} images")
    print(report.line(_figure(asked.images, asked.layer, asked.rounds)))


if __name__ == "__main__":
    main()
