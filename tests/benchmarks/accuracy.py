"""Test accuracy of the default recipe, of it with one thing changed at a time, and of the course's, over several seeds.

python -m tests.benchmarks.accuracy [--epochs 24] [--seeds 3] [--limit-train N] [--val-size N] [VARIANT ...]

Each row is K ordinary runs of `era fit` on CIFAR-10, which stay under --runs-dir: a call that was stopped goes on with
them where it was. Accuracies are of the best epoch by validation, mean and sample standard deviation over the seeds.
Without a VARIANT there is a row for each; --list names them.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from era_cli.core.evaluation import predictions
from era_cli.core.evaluation.trained_run import TrainedRun
from era_cli.core.fit import start
from era_cli.core.fit.request import FitRequest
from era_cli.core.training import devices
from era_cli.errors import EraError
from era_cli.listener import Listener
from era_cli.recipes import RECIPES, Recipe, named, with_options
from era_cli.runs import artifacts
from era_cli.runs.run import Run

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("default", {}),
    "random first filters": ("default", {"whiten": False}),
    "random other convolutions": ("default", {"dirac": False}),
    "no label smoothing": ("default", {"label_smoothing": 0.0}),
    "no cutout": ("default", {"cutout": 0}),
    "no Nesterov": ("default", {"nesterov": False}),
    "decay on norms and biases": ("default", {"decay_norm_and_bias": True}),
    "logits unscaled": ("default", {"logit_scale": 1.0}),
    "half the peak rate": ("default", {"max_lr": named("default").max_lr / 2}),
    "twice the peak rate": ("default", {"max_lr": named("default").max_lr * 2}),
    "batch 256": ("default", {"batch_size": 256}),
    "batch 512, twice the peak rate": ("default", {"batch_size": 512, "max_lr": named("default").max_lr * 2}),
    **{name: (name, {}) for name in RECIPES if name != "default"},
}


def trained(name: str, recipe: Recipe, options: argparse.Namespace, source: str | None = None) -> Run:
    """The finished run called `name`: as it is, resumed, or begun on CIFAR-10 or another `source`."""
    run = Run(options.runs_dir / name)
    if run.path.exists() and not any(run.checkpoints.glob("*.ckpt")):  # stopped before its first step
        shutil.rmtree(run.path)
    begun = run.path.exists()
    if begun:
        stored = run.read().recipe
        if stored != dataclasses.replace(
            recipe, val_size=stored.val_size, image_size=stored.image_size, flip=stored.flip
        ):
            raise EraError(f"{run.path} was trained by another recipe: move it away, or name another --runs-dir")
        if run.read().as_dict()["status"] == "finished":
            return run
    request = FitRequest(
        recipe=recipe,
        given={} if begun else recipe.as_dict(),
        source=None if begun else source,
        data_dir=options.data_dir,
        strict=False,
        gpus="auto",
        runs_dir=options.runs_dir,
        name=name,
        command=["python", "-m", "tests.benchmarks.accuracy"],
    )
    prepare = start.resume(run, request, Listener()) if begun else start.prepare(request, Listener())
    prepare.train(Listener())
    return run


def judged(run: Run, tta: str, options: argparse.Namespace) -> float:
    """Its test accuracy in per cent."""
    where = devices.choose("auto", "auto").torch_device
    one = TrainedRun(run, run.checkpoints / artifacts.BEST, where)
    subset = one.subset("test", options.data_dir, Listener())
    return 100 * predictions.load_or_compute(one, subset, tta, Listener()).evaluation.accuracy


def row(variant: str, options: argparse.Namespace) -> str:
    """One line of the Markdown table."""
    base, changes = VARIANTS[variant]
    asked = {field: getattr(options, field) for field in ("epochs", "limit_train", "val_size", "image_size")}
    given = {field: value for field, value in asked.items() if value is not None}
    runs = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        recipe = with_options(named(base), {**changes, **given, "seed": seed})
        name = "-".join(
            [variant.replace(",", "").replace(" ", "-"), *(f"{key[0]}{given[key]}" for key in given), str(seed)]
        )
        runs.append(trained(name, recipe, options))
    plain, flip = ([judged(run, tta, options) for run in runs] for tta in ("none", "flip"))
    first = runs[0].read().as_dict()
    seconds = mean(run.read().as_dict()["seconds"] for run in runs)
    seeds = (
        f"{options.first_seed} to {options.first_seed + options.seeds - 1}"
        if options.seeds > 1
        else str(options.first_seed)
    )
    cells = (
        variant,
        str(first["recipe"]["epochs"]),
        f"{first['data']['counts']['train']:,}",
        seeds,
        spread(plain),
        spread(flip),
        f"{seconds:,.0f}",
        f"{first['device']['name']}, {first['device']['precision']}",
    )
    return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float]) -> str:
    """Mean and deviation in per cent."""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def main() -> None:
    """Trains what is missing and prints the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", metavar="VARIANT")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--limit-train", type=int)
    parser.add_argument("--val-size", type=int)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/accuracy"))
    options = parser.parse_args()
    if unknown := [variant for variant in options.variants if variant not in VARIANTS]:
        parser.error(f"there is no variant {unknown[0]!r}: --list names them")
    if options.list:
        print("\n".join(VARIANTS))
        return
    print("| variant | epochs | images | seeds | test, % | with flip, % | s a run | device |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for variant in options.variants or VARIANTS:
        print(row(variant, options), flush=True)


if __name__ == "__main__":
    main()
