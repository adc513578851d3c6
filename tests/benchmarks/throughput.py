"""Images a second of `era fit` and `era eval` against bare PyTorch loops and the machine's limit, in one run.

python -m tests.benchmarks.throughput [--rounds 3] [--steps 16] [--batch-size 128]

Every side runs the same network on random images that are ready in memory: era through its whole core (its own
augmentation, Lightning, the run folder), the bare loop with the forward pass, the loss, the backward pass and the
optimizer's step alone; for `era eval` its one pass over uint8 images in fp32, against the forward pass alone over
images that are normalised already. The machine's limit is its measured peak of large matrix products over the
operations of training on an image. Run by itself, it also measures the bare loop in fp32 and NCHW, which the suite
leaves to `course_way`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import torch

from era_cli.core.data.batches import EVALUATION_BATCH
from era_cli.core.data.dataset import Dataset
from era_cli.core.data.normalize import Normalization
from era_cli.core.evaluation import inference
from era_cli.core.evaluation.classifier import TrainedClassifier
from era_cli.core.networks import networks
from era_cli.core.networks.network import Network
from era_cli.core.training import devices
from era_cli.listener import Listener
from era_cli.recipes import default
from tests.benchmarks import bare_loop, core_fit, machine_limit, report
from tests.benchmarks.bare_loop import HALF
from tests.benchmarks.core_fit import CLASSES
from tests.benchmarks.measuring import Figure, Options, Target, alternate, take_turns

UNIT = "images/s"
LARGE_BATCH = 512


def figures(options: Options) -> Iterator[Figure]:
    """All of them, with as many steps as the device needs for a steady rate."""
    device = devices.choose("auto", "auto")
    steps = 2 if options.quick else 16 if device.accelerator == "cpu" else 256
    yield from _figures(device, 8 if options.quick else default().batch_size, steps, options)


def _figures(device: devices.Device, batch: int, steps: int, options: Options) -> Iterator[Figure]:
    on_gpu = device.accelerator == "cuda"
    precision = device.precision
    sizes = (256,) if options.quick else (4096, 8192, 16_384) if on_gpu else (1024, 2048, 4096)
    product = f"{precision} product of square matrices of {', '.join(map(str, sizes))}"
    turns = take_turns(
        (
            lambda: core_fit.images_per_second(device, batch, steps),
            lambda: bare_loop.images_per_second(device, batch, steps, precision),
            lambda: machine_limit.images_per_second(device, sizes),
        ),
        options.rounds,
    )
    yield Figure(
        what=f"era fit over a bare PyTorch loop, {precision}, channels_last, batch {batch}",
        left="era fit",
        right="bare loop",
        unit=UNIT,
        rounds=tuple((era, bare) for era, bare, _ in turns),
        target=Target("at least", 0.9 if on_gpu else 0.97),
    )
    yield _of_limit(batch, product, tuple((era, limit) for era, _, limit in turns), Target("at least", 0.8))
    large, fewer = (16 if options.quick else LARGE_BATCH), max(2, steps // 4)
    rounds = alternate(
        lambda: core_fit.images_per_second(device, large, fewer),
        lambda: machine_limit.images_per_second(device, sizes),
        options.rounds,
    )
    yield _of_limit(large, product, rounds, Target("at least", 0.68))
    network = networks.build(default(), CLASSES).to(device.torch_device).eval()
    dataset = core_fit.random_images(16 if options.quick else EVALUATION_BATCH * max(3, steps // 4))
    bare_loop.forward_images_per_second(network, dataset)  # warms up
    yield Figure(
        what="era eval over the bare forward pass, fp32, channels_last",
        left="era eval",
        right="bare forward pass",
        unit=UNIT,
        rounds=alternate(
            lambda: _era_eval(network, dataset),
            lambda: bare_loop.forward_images_per_second(network, dataset),
            options.rounds,
        ),
    )


def _fp32_nchw(device: devices.Device, steps: int, rounds: int) -> Figure:
    """What precision and layout alone bring."""
    return Figure(
        what="era fit over a bare PyTorch loop in fp32 and NCHW, batch 256",
        left=f"era fit, {device.precision}",
        right="bare loop",
        unit=UNIT,
        rounds=alternate(
            lambda: core_fit.images_per_second(device, 256, steps),
            lambda: bare_loop.images_per_second(device, 256, steps, "fp32", torch.contiguous_format),
            rounds,
        ),
    )


def _of_limit(batch: int, product: str, rounds: tuple[tuple[float, float], ...], target: Target) -> Figure:
    operations = machine_limit.operations_per_image()
    return Figure(
        what=f"era fit over the machine's limit, batch {batch}",
        left="era fit",
        right=f"fastest {product}",
        unit=UNIT,
        rounds=rounds,
        target=target,
        note=f"training on an image takes {operations / 1e9:.2f} GFLOP; the median peak is"
        f" {statistics.median(limit for _, limit in rounds) * operations / 1e12:.3g} TFLOP/s",
    )


def _era_eval(network: Network, dataset: Dataset) -> float:
    """Images a second of the pass behind `era eval`."""
    started = time.perf_counter()
    classifier = TrainedClassifier(network, Normalization(HALF, HALF), dataset.classes, mirrored=True)
    inference.evaluate(classifier, dataset, dataset.train, Listener(), what="")
    return len(dataset.train) / (time.perf_counter() - started)


def main() -> None:
    """Measures and prints, with the conditions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=default().batch_size)
    asked = parser.parse_args()
    device = devices.choose("auto", "auto")
    print(f"torch {torch.__version__}, {device.name}, {torch.get_num_threads()} threads, {device.precision}")
    for figure in _figures(device, asked.batch_size, asked.steps, Options(rounds=asked.rounds)):
        print(report.line(figure), flush=True)
    print(report.line(_fp32_nchw(device, max(3, asked.steps // 4), asked.rounds)))


if __name__ == "__main__":
    main()
