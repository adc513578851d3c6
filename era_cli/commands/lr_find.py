"""`era lr-find`: sweep the learning rate over a throw-away network, and suggest a peak for the one-cycle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from era_cli import recipes
from era_cli.commands import fit, options
from era_cli.commands.options import recipe_option
from era_cli.errors import EraError, UsageError
from era_cli.signals import held

FIELDS = tuple(field for field in fit.FIELDS if field not in ("epochs", "max_lr", "compile"))
SWEEP_PANEL = "Sweep"


def lr_find(
    min_lr: Annotated[
        float, typer.Option("--min-lr", help="The first learning rate.", rich_help_panel=SWEEP_PANEL)
    ] = recipes.SWEEP_FROM,
    max_lr: Annotated[
        float, typer.Option("--max-lr", help="The last learning rate.", rich_help_panel=SWEEP_PANEL)
    ] = recipes.SWEEP_TO,
    steps: Annotated[
        int,
        typer.Option(
            "--steps",
            help="Training steps, one rate each; a suggestion takes 20 at least.",
            min=2,
            max=5_000,
            rich_help_panel=SWEEP_PANEL,
        ),
    ] = recipes.SWEEP_STEPS,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", help="Sweeps to make, with one seed after the other.", min=1, rich_help_panel=SWEEP_PANEL
        ),
    ] = 1,
    recipe: options.RecipeName = None,
    batch_size: Annotated[int | None, recipe_option("batch_size")] = None,
    optimizer: Annotated[str | None, recipe_option("optimizer")] = None,
    weight_decay: Annotated[float | None, recipe_option("weight_decay")] = None,
    label_smoothing: Annotated[float | None, recipe_option("label_smoothing")] = None,
    dropout: Annotated[float | None, recipe_option("dropout")] = None,
    flip: Annotated[float | None, recipe_option("flip")] = None,
    cutout: Annotated[int | None, recipe_option("cutout")] = None,
    seed: Annotated[int | None, recipe_option("seed")] = None,
    gpus: options.Gpus = "auto",
    precision: Annotated[str | None, recipe_option("precision")] = None,
    data: Annotated[str | None, options.DATA_OPTION] = None,
    data_dir: options.DataDir = None,
    val_size: Annotated[int | None, recipe_option("val_size", options.DATA_PANEL)] = None,
    limit_train: Annotated[int | None, recipe_option("limit_train", options.DATA_PANEL)] = None,
    image_size: Annotated[int | None, recipe_option("image_size", options.DATA_PANEL)] = None,
    strict: options.Strict = False,
    runs_dir: options.RunsDir = Path("runs"),
    out: Annotated[
        Path | None,
        options.out_option(
            "Where the figure goes; its suffix chooses png, svg or pdf. The sweep goes beside it, as NAME-sweep.json."
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Sweep the learning rate and suggest a peak for era fit.

    Trains a throw-away network on augmented batches while the rate rises from step to step, and stops when the loss
    diverges. Writes a figure and the whole sweep as JSON into lr-find under the folder of the runs; no run is touched.
    """
    values = locals()
    given: dict[str, Any] = {field: values[field] for field in FIELDS if values[field] is not None}
    settings = recipes.with_options(recipes.named(recipe or "default"), given)  # before torch is loaded
    allowed = recipes.Recipe.__dataclass_fields__["max_lr"].metadata["range"]
    if not (min_lr in allowed and max_lr in allowed and min_lr < max_lr):
        raise UsageError(
            f"--min-lr {min_lr:g} and --max-lr {max_lr:g} must lie in {allowed}, the first below the second"
        )

    with held():
        from era_cli import documents
        from era_cli.console import terminal
        from era_cli.console.lr_find import print_sweep
        from era_cli.console.progress import WorkProgress, print_files
        from era_cli.core.lr_find import sweep as lr_range
        from era_cli.core.training import setup
        from era_cli.files import atomic_write_json
        from era_cli.reports import lr_find as lr_curve
        from era_cli.reports import style
        from era_cli.runs import store

    progress = WorkProgress(quiet=quiet)
    request = setup.Request(
        recipe=settings,
        given=given,
        source=data,
        data_dir=data_dir and data_dir.expanduser(),
        strict=strict,
        gpus=gpus,
        find_lr=True,
    )
    prepared = setup.Setup.of(request, progress)
    for note in prepared.notes:
        progress.note(note)
    sweep = lr_range.sweep(prepared, progress, low=min_lr, high=max_lr, steps=steps, seeds=seeds)
    used, dataset = prepared.recipe, prepared.dataset
    if out is None:
        stem = store.free_stem(runs_dir.expanduser() / store.SWEEPS, dataset.name)
        figure_file, json_file = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.json")
    else:
        figure_file, json_file = out, out.with_name(f"{out.stem}-sweep.json")
    files = [figure_file, json_file]
    document = {
        "schema": documents.SCHEMA,
        **documents.sweep(sweep),
        "recipe": used.as_dict(),
        "data": {"source": dataset.source, "content_hash": dataset.content_hash},
        "device": prepared.device.as_dict(),
        "files": [str(file) for file in files],
    }
    header = [
        ("data", f"{dataset.source}: {len(prepared.train_indices):,} training images"),
        ("device", f"{prepared.device.name}, {prepared.device.precision}"),
        ("recipe", f"{used.name}: {used.optimizer}, batches of {used.batch_size}, seed {used.seed}"),
        ("sweep", f"{min_lr:g} to {max_lr:g} in {steps} steps"),
    ]
    console = terminal.record_console(to_stderr=as_json)
    if not as_json:  # before anything is written, which may fail
        print_sweep(console, [] if quiet else header, sweep)
    title = f"Learning-rate range test: {dataset.name}, {used.optimizer}, batches of {used.batch_size}"
    style.save(lr_curve.lr_curve(sweep, title), figure_file)
    atomic_write_json(json_file, document)
    if as_json:
        terminal.print_json(document)
    else:
        print_files(console, files)
    if sweep.recommended is None:
        raise EraError(f"no rate can be suggested: {sweep.verdict}")
