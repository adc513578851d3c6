"""Which peak rates win a short one-cycle, and which rates lr-find suggests for the same setting.

python -m tests.benchmarks.lr_grid CASE [--seeds 3] [--rates 0.0125 0.025 ...] [--data-dir DATA] [--runs-dir RUNS]

A rate wins if its mean validation accuracy over the seeds is within 0.5 points, or one standard error of the
difference, of the best rate's. The trainings know of no rule, so that a rule that is thought of later can be checked
against the same table. Runs and sweeps stay under --runs-dir: a call that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from era_cli import documents
from era_cli.core.lr_find.sweep import sweep
from era_cli.core.training.request import Request
from era_cli.core.training.setup import Setup
from era_cli.errors import EraError
from era_cli.files import atomic_write_json
from era_cli.listener import Listener
from era_cli.recipes import named, with_options
from tests.benchmarks.accuracy import trained

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "cifar10": ("cifar10", {"epochs": 2, "limit_train": 10_000}),
    "cifar10-adam": ("cifar10", {"epochs": 2, "limit_train": 10_000, "optimizer": "adam"}),
    "digits": ("digits", {"epochs": 4, "batch_size": 64, "image_size": 16}),
    "digits-adam": ("digits", {"epochs": 4, "batch_size": 64, "image_size": 16, "optimizer": "adam"}),
}
RATES = {"sgd": [0.0125 * 2**power for power in range(9)], "adam": [0.00025 * 2**power for power in range(9)]}
TOLERANCE = 0.005  # of an accuracy


def suggested(case: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The sweep of this seed with what it suggests, as `era lr-find --json` prints it."""
    file = options.runs_dir / f"{case}-sweep-{seed}.json"
    if not file.exists():
        source, fields = CASES[case]
        recipe = with_options(named("default"), {**fields, "seed": seed})
        request = Request(
            recipe=recipe,
            given={**fields, "seed": seed},
            source=source,
            data_dir=options.data_dir,
            strict=False,
            gpus="auto",
            find_lr=True,
        )
        atomic_write_json(file, documents.sweep(sweep(Setup.of(request, Listener()), Listener())))
    return dict(json.loads(file.read_text(encoding="utf-8")))


def accuracies(case: str, rate: float, options: argparse.Namespace) -> list[float]:
    """The best validation accuracy of each seed's run with this peak rate."""
    source, fields = CASES[case]
    found = []
    for seed in range(options.seeds):
        recipe = with_options(named("default"), {**fields, "max_lr": rate, "seed": seed})
        try:
            result = trained(f"{case}-{rate:g}-{seed}", recipe, options, source=source).read().result
        except EraError:  # its loss became NaN
            result = None
        found.append(0.0 if result is None or result.val_acc is None else result.val_acc)
    return found


def wins(values: Sequence[float], best: Sequence[float]) -> bool:
    """Whether these accuracies are as good as the best, but for TOLERANCE or chance."""
    error = math.sqrt(sum(stdev(each) ** 2 / len(each) for each in (values, best))) if len(best) > 1 else 0.0
    return mean(best) - mean(values) <= max(TOLERANCE, error)


def main() -> None:
    """Trains what is missing and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="+")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/lr-grid"))
    options = parser.parse_args()
    options.runs_dir.mkdir(parents=True, exist_ok=True)
    rates = options.rates or RATES[CASES[options.case][1].get("optimizer", "sgd")]
    print("| seed | recommended | suggestions | stopped |\n|--:|--:|---|---|")
    for seed in range(options.seeds):
        found = suggested(options.case, seed, options)
        rules = ", ".join(f"{each['rule']} {each['lr']:g}" for each in found["suggestions"])
        lr = "-" if found["recommended"] is None else f"{found['recommended']['lr']:g}"
        print(f"| {seed} | {lr} | {rules or found['reason']} | {found['stops'][0] or '-'} |", flush=True)
    table = {rate: accuracies(options.case, rate, options) for rate in rates}
    best = max(table.values(), key=mean)
    print("\n| peak rate | validation accuracy, % | wins |\n|--:|--:|---|")
    for rate, values in table.items():
        deviation = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
        print(f"| {rate:g} | {100 * mean(values):.2f}{deviation} | {'yes' if wins(values, best) else ''} |")


if __name__ == "__main__":
    main()
