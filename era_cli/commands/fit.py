"""`era fit`: train a network, judge it once on the test split, and keep all of it in a run folder."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from era_cli import options
from era_cli import recipe as recipes
from era_cli.errors import Interrupted, UsageError
from era_cli.options import recipe_option
from era_cli.signals import held

if TYPE_CHECKING:  # these load numpy, which help does not need
    from era_cli.console.training import FitProgress
    from era_cli.results import FitPlan
    from era_cli.runs import Run

AUTO = "auto"
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
    recipe: options.RecipeName = None,
    epochs: Annotated[int | None, recipe_option("epochs")] = None,
    batch_size: Annotated[int | None, recipe_option("batch_size")] = None,
    max_lr: Annotated[
        str | None,
        typer.Option(
            "--max-lr",
            help=recipes.Recipe.__dataclass_fields__["max_lr"].metadata["help"]
            + " auto finds it first, as lr-find does."
            + options.default_text(f"{recipes.default().max_lr:g}"),
            show_default=False,
            metavar="FLOAT|auto",
            rich_help_panel=options.TRAINING_PANEL,
        ),
    ] = None,
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
    strict: options.Strict = False,
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
    find_lr = given.get("max_lr") == AUTO
    if find_lr:
        del given["max_lr"]
    elif max_lr is not None:
        given["max_lr"] = _rate(max_lr)
    settings = recipes.with_options(recipes.named(recipe or "default"), given)  # before torch is loaded

    with held():
        from era_cli import runs, terminal
        from era_cli.console.training import FitProgress
        from era_cli.core import preparation

    if resume is not None and recipe is not None:
        given["name"] = recipe
    runs_dir = runs_dir.expanduser()
    progress = FitProgress(
        None if quiet else terminal.record_console(to_stderr=as_json),
        every_layer=summary,
        also=_draw_plan,
    )
    job = preparation.FitRequest(
        recipe=settings,
        given=given,
        source=data,
        data_dir=data_dir and data_dir.expanduser(),
        strict=strict,
        gpus=gpus,
        find_lr=find_lr,
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
    _draw_curves(prepared.run, progress)
    if as_json:
        document = prepared.run.read()
        files = [str(file) for file in prepared.run.files()]
        terminal.print_json({**document, "run": str(prepared.run.path), "files": files})
    else:
        progress.show_result(result, prepared.run.files())


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--max-lr is {text!r}, but must be a number or {AUTO}") from None


def _draw_curves(run: Run, progress: FitProgress) -> None:
    """Draws what `era plot-curves` draws."""
    from era_cli.reports import curves, style

    try:
        style.save(curves.curves([run.curves()]), run.curves_file)
    except Exception as error:  # whatever it is, it must not fail a run that is trained
        progress.note(f"The curves were not drawn ({error}): era plot-curves tries again.")


def _draw_plan(plan: FitPlan) -> None:
    """Draws what the network will see and, if its rate was found by a sweep, the sweep."""
    from era_cli.reports import image_grid, lr_curve, style
    from era_cli.runs import Run

    run = Run(plan.run)
    style.save(image_grid.training_samples(plan.samples), run.samples_file)
    if plan.sweep is not None:
        style.save(lr_curve.lr_curve(plan.sweep, f"Learning-rate range test before {run.name}"), run.lr_find_file)


def _how_to_go_on(run: Run, runs_dir: Path) -> str:
    if not any(run.checkpoints.glob("*.ckpt")):
        return f"{run.path} was stopped before its first step was saved: start it again."
    where = "" if runs_dir == Path("runs") else f" --runs-dir {shlex.quote(str(runs_dir))}"
    return f"{run.path} is saved; go on with: era fit --resume {run.name}{where}"
