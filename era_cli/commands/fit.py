"""`era fit`: train a network, judge it once on the test split, and keep all of it in a run folder."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from era_cli import options
from era_cli import recipe as recipes
from era_cli.errors import Interrupted
from era_cli.options import recipe_option

if TYPE_CHECKING:  # run folders load numpy, which help does not need
    from era_cli.runs import Run

FIELDS = (
    "epochs",
    "batch_size",
    "max_lr",
    "optimizer",
    "weight_decay",
    "label_smoothing",
    "dropout",
    "flip",
    "cutout",
    "seed",
    "precision",
    "val_size",
    "limit_train",
    "image_size",
)


def fit(
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="Named settings to start from: default, or the course project's session12 (SGD) and session10 (Adam)."
            " Options replace single ones; the defaults shown here are those of default."
            + options.default_text("default"),
            show_default=False,
            metavar="|".join(recipes.RECIPES),
            rich_help_panel=options.TRAINING_PANEL,
        ),
    ] = None,
    epochs: Annotated[int | None, recipe_option("epochs")] = None,
    batch_size: Annotated[int | None, recipe_option("batch_size")] = None,
    max_lr: Annotated[float | None, recipe_option("max_lr")] = None,
    optimizer: Annotated[str | None, recipe_option("optimizer")] = None,
    weight_decay: Annotated[float | None, recipe_option("weight_decay")] = None,
    label_smoothing: Annotated[float | None, recipe_option("label_smoothing")] = None,
    dropout: Annotated[float | None, recipe_option("dropout")] = None,
    flip: Annotated[float | None, recipe_option("flip")] = None,
    cutout: Annotated[int | None, recipe_option("cutout")] = None,
    seed: Annotated[int | None, recipe_option("seed")] = None,
    gpus: options.Gpus = "auto",
    precision: Annotated[str | None, recipe_option("precision")] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            help="Go on with an interrupted run: its name, its path, or latest.",
            metavar="RUN",
            rich_help_panel=options.TRAINING_PANEL,
        ),
    ] = None,
    data: Annotated[str | None, options.DATA_OPTION] = None,
    data_dir: options.DataDir = None,
    val_size: Annotated[int | None, recipe_option("val_size", options.DATA_PANEL)] = None,
    limit_train: Annotated[int | None, recipe_option("limit_train", options.DATA_PANEL)] = None,
    image_size: Annotated[int | None, recipe_option("image_size", options.DATA_PANEL)] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse a folder with an unreadable image instead of leaving the image out.",
            rich_help_panel=options.DATA_PANEL,
        ),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="Name of the run folder; by default the data's name and the next number.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
    runs_dir: options.RunsDir = Path("runs"),
    summary: Annotated[
        bool,
        typer.Option(
            "--summary",
            help="List every layer of the network, not its blocks alone.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train the network and keep everything in a run folder.

    Prints one row per epoch, then the test accuracy of the best epoch and the path of every file.

    Ctrl-C saves first; --resume goes on from there as if nothing had happened.
    """
    values = locals()
    given: dict[str, Any] = {field: values[field] for field in FIELDS if values[field] is not None}
    settings = recipes.with_options(recipes.named(recipe or "default"), given)  # before torch is loaded

    from era_cli import console, runs, terminal
    from era_cli.core import preparation
    from era_cli.reports import image_grid, style

    if resume is not None and recipe is not None:
        given["name"] = recipe
    runs_dir = runs_dir.expanduser()
    progress = console.FitProgress(
        None if quiet else terminal.record_console(to_stderr=as_json),
        every_layer=summary,
        also=lambda plan: style.save(image_grid.training_samples(plan.samples), runs.Run(plan.run).samples_file),
    )
    job = preparation.Request(
        recipe=settings,
        given=given,
        source=data,
        data_dir=data_dir and data_dir.expanduser(),
        strict=strict,
        gpus=gpus,
        runs_dir=runs_dir,
        name=name,
        command=["era", *sys.argv[1:]],
    )
    if resume is None:
        prepared = preparation.prepare(job, progress)
    else:
        prepared = preparation.resume(runs.find(runs_dir, resume), job, progress)
    try:
        result = prepared.train(progress)
    except Interrupted:
        progress.stop()
        progress.note(_how_to_go_on(prepared.run, runs_dir))
        raise
    finally:
        progress.stop()
    if as_json:
        document = prepared.run.read()
        files = [str(file) for file in prepared.run.files()]
        print(
            json.dumps({**document, "run": str(prepared.run.path), "files": files}, indent=2)
        )  # ASCII, so that no pipe's encoding refuses it
    else:
        progress.show_result(result, prepared.run.files())


def _how_to_go_on(run: Run, runs_dir: Path) -> str:
    if not any(run.checkpoints.glob("*.ckpt")):
        return f"{run.path} was stopped before its first step was saved: start it again."
    where = "" if runs_dir == Path("runs") else f" --runs-dir {shlex.quote(str(runs_dir))}"
    return f"{run.path} is saved; go on with: era fit --resume {run.name}{where}"
