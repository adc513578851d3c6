"""`era lr-find`: sweep the learning rate of a temporary model, and suggest a peak for the one-cycle schedule."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from era_cli import recipes
from era_cli.commands import deliver, next_step, options
from era_cli.commands.loading import loading
from era_cli.commands.recipe_options import takes_recipe
from era_cli.errors import EraError, UsageError
from era_cli.place import here
from era_cli.recipes.recipe import SCHEDULE, Range, Recipe
from era_cli.signals import ending

SWEEP = "Sweep"
LOWEST_LR = 1e-12  # far below any rate that fp32 weights would notice
# A sweep has a schedule of its own, neither validates nor tests, and compiling takes longer than it could save.
UNUSED = {spec.name for spec in dataclasses.fields(Recipe) if spec.metadata.get("panel") == SCHEDULE}
UNUSED |= {"limit_val", "limit_test", "compile"}


@takes_recipe(without=UNUSED)
def lr_find(
    *,
    min_lr: Annotated[
        float, typer.Option("--min-lr", help="The first learning rate.", rich_help_panel=SWEEP)
    ] = recipes.SWEEP_FROM,
    max_lr: Annotated[
        float, typer.Option("--max-lr", help="The last learning rate.", rich_help_panel=SWEEP)
    ] = recipes.SWEEP_TO,
    steps: Annotated[
        int,
        typer.Option(
            "--steps",
            help="Training steps, one learning rate each; a suggestion needs at least 20.",
            min=2,
            max=5_000,
            rich_help_panel=SWEEP,
        ),
    ] = recipes.SWEEP_STEPS,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", help="Sweep this many times with consecutive seeds.", min=1, max=1_000, rich_help_panel=SWEEP
        ),
    ] = 1,
    recipe: options.RecipeName = None,
    given: dict[str, Any],
    gpus: options.TrainingGpu = "auto",
    data: Annotated[str | None, options.DATA_OPTION] = None,
    data_dir: options.DataDir = None,
    strict: options.Strict = False,
    runs_dir: options.RunsDir = Path("runs"),
    out: Annotated[
        Path | None,
        options.out_option(
            "Path of the figure; its suffix selects png, svg or pdf. The sweep goes beside it, as NAME-sweep.json."
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Sweep the learning rate and suggest a peak for era fit.

    Trains a temporary model on augmented batches while the learning rate rises from step to step, and stops when the
    loss diverges. Writes a figure and the whole sweep as JSON into the folder lr-find under --runs-dir.
    """
    at = here()
    if not at.is_first:
        return
    settings = recipes.with_options(recipes.named(recipe or "default"), given)  # before torch is loaded
    allowed = Range(LOWEST_LR, Recipe.__dataclass_fields__["max_lr"].metadata["range"].high)
    if not (min_lr in allowed and max_lr in allowed and min_lr < max_lr):
        raise UsageError(
            f"--min-lr {min_lr:g} and --max-lr {max_lr:g} must lie in {allowed}, the first below the second"
        )

    dataclasses.replace(settings, seed=settings.seed + seeds - 1)  # refuses the last seed if it is too large

    with ending():
        from era_cli.core.training.request import Request

    request = Request(
        recipe=settings,
        given=given,
        source=data,
        data_dir=data_dir,
        strict=strict,
        gpus=gpus,
        find_lr=True,
    )
    request.check()
    with loading(quiet=quiet) as progress:
        from era_cli import documents
        from era_cli.console.lr_find import print_sweep
        from era_cli.core.lr_find import sweep as range_test
        from era_cli.core.training import setup
        from era_cli.reports.lr_find import lr_curve
        from era_cli.runs import artifacts, store

    with progress.waiting("loading the data"):
        prepared = setup.Setup.of(request, progress)
    if at.processes > 1:
        progress.note("lr-find uses one process and one device; the others have ended.")
    for note in prepared.notes:
        progress.note(note)
    for warning in prepared.warnings:
        progress.warn(warning)
    sweep = range_test.sweep(prepared, progress, low=min_lr, high=max_lr, steps=steps, seeds=seeds)
    used, dataset = prepared.recipe, prepared.dataset
    if out is None:
        stem = store.free_stem(runs_dir / artifacts.SWEEPS, dataset.name)
        figure, table = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.json")
    else:
        figure, table = out, artifacts.beside(out, "sweep.json")
    title = f"Learning-rate range test: {dataset.name}, {used.optimizer}, batch size {used.batch_size}"
    recommended = None if sweep.recommended is None else f"{sweep.recommended.lr:.3g}"
    following = {**given, "max_lr": recommended, "gpus": gpus, "data": data, "data_dir": data_dir}
    following |= {"strict": strict or None, "runs_dir": runs_dir}
    deliver.deliver(
        {
            **documents.sweep(sweep),
            "recipe": used.as_dict(),
            "data": {"source": dataset.source, "content_hash": dataset.content_hash},
            "device": prepared.device.as_dict(),
        },
        lambda console, facts: print_sweep(console, facts, sweep),
        [deliver.figure(figure, lambda: lr_curve(sweep, title)), deliver.json_file(table)],
        facts=[
            ("data", f"{dataset.source}: {len(prepared.train_indices):,} training images"),
            ("device", f"{prepared.device.name}, {prepared.device.precision}"),
            ("recipe", f"{used.name}: {used.optimizer}, batch size {used.batch_size}, seed {used.seed}"),
            ("sweep", f"{min_lr:g} to {max_lr:g} in {steps} steps"),
        ],
        headline=recommended or "",  # the number alone: era fit --max-lr "$(era lr-find --quiet)"
        then=next_step.line("fit", recipe=recipe, **following) if recommended else "",
        quiet=quiet,
        as_json=as_json,
    )
    if sweep.recommended is None:
        raise EraError(f"no learning rate can be suggested: {sweep.verdict}")
