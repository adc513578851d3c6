"""`era fit`: train a network, test it once, and keep everything in a run folder."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from era_cli import recipes
from era_cli.commands import deliver, next_step, options, several, together
from era_cli.commands.loading import loading
from era_cli.commands.recipe_options import help_text, takes_recipe
from era_cli.errors import EraError, Interrupted, ProcessLost, UsageError
from era_cli.place import here
from era_cli.recipes.recipe import SCHEDULE, TRAINING
from era_cli.signals import ending
from era_cli.text import did_you_mean, quoted

if TYPE_CHECKING:  # these load numpy, which help does not need
    from era_cli.console.fit import FitProgress
    from era_cli.core.fit.request import FitRequest
    from era_cli.core.training.group import Group
    from era_cli.recipes import Recipe
    from era_cli.results import FitPlan, FitResult
    from era_cli.runs.run import Run

AUTO = "auto"
_OVERLAID = 5  # runs in the command named as the next one
MAX_LR = Annotated[
    str | None,
    typer.Option(
        "--max-lr",
        help=help_text("max_lr", " auto runs a range test first, as lr-find does."),
        show_default=False,
        metavar="FLOAT|auto",
        rich_help_panel=SCHEDULE,
    ),
]


@takes_recipe(instead={"max_lr": MAX_LR})
def fit(
    *,
    recipe: options.RecipeName = None,
    given: dict[str, Any],
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds",
            help="Train this many runs with consecutive seeds; prints mean and standard deviation.",
            min=1,
            max=1_000,
            rich_help_panel=TRAINING,
        ),
    ] = 1,
    gpus: options.TrainingGpus = "auto",
    cpu_procs: several.CpuProcs = None,
    nodes: several.Nodes = None,
    strategy: several.StrategyOption = None,
    sync_batchnorm: several.SyncBatchnorm = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            help="Resume an interrupted run: its name, its path, or latest.",
            metavar="RUN",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    data: Annotated[str | None, options.DATA_OPTION] = None,
    data_dir: options.DataDir = None,
    strict: options.Strict = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="Name of the run folder; by default the data's name and the next number.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an existing run called --name once the new run has done its first step.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    runs_dir: options.RunsDir = Path("runs"),
    summary: Annotated[
        bool,
        typer.Option(
            "--summary", help="List every layer of the network, not just blocks.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train the network and keep everything in a run folder.

    Prints one row per epoch, then the test accuracy of the best epoch and the path of every file.

    Ctrl-C saves first; --resume continues as if nothing had happened.
    """
    settings, find_lr = _settings(recipe, given)  # before torch is loaded
    if resume is not None and seeds > 1:
        raise UsageError("--seeds starts new runs and --resume continues one: use one of them")
    if overwrite and (name is None or resume is not None):
        raise UsageError("--overwrite replaces the run called --name with a new one: give --name, without --resume")
    each = [dataclasses.replace(settings, seed=settings.seed + offset) for offset in range(seeds)]

    if resume is not None and recipe is not None:
        given["name"] = recipe
    names = [name] if seeds == 1 else [name and f"{name}-{own.seed}" for own in each]

    asked_team = several.Asked(gpus=gpus, cpu_procs=cpu_procs, nodes=nodes, sync_batchnorm=sync_batchnorm)
    at = here()
    if at.processes > 1:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # remarks of each process, before torch is loaded

    with ending():
        from era_cli.console import terminal
        from era_cli.console.fit import FitProgress
        from era_cli.console.progress import print_next
        from era_cli.core.fit import request as asked
        from era_cli.runs import store

    prepares = at.is_first and not several.is_further_node(nodes)
    run = store.find(runs_dir, resume) if resume is not None and prepares else None
    team = several.team(asked_team, at, None if run is None else run.read().device)
    request = asked.FitRequest(
        recipe=settings,
        given=given,
        source=data,
        data_dir=data_dir,
        strict=strict,
        gpus=team.gpus,
        find_lr=find_lr,
        sync_batchnorm=sync_batchnorm,
        runs_dir=runs_dir,
        name=name,
        overwrite=overwrite,
        command=["era", *sys.argv[1:]],
    )
    if not at.is_first:
        together.follow(at, request)
        return
    if not prepares:
        together.start(team, settings.precision)
    finished = _check(request, run, names, team)
    if team.processes > at.processes and not finished:
        together.start(team, settings.precision)
    progress = FitProgress(None if quiet else terminal.record_console(to_stderr=as_json), every_layer=summary)
    done: list[tuple[Run, FitResult]] = []

    def end(run: Run, result: FitResult) -> None:
        done.append((run, result))
        if not as_json:
            progress.show_result(result, *_files(run))

    if run is not None and finished:
        progress.note(asked.finished(run, run.read()))
        end(run, finished)
    if not finished or at.processes > 1:  # the others wait, even for nothing
        with loading(progress):
            from era_cli.core.fit import start  # noqa: F401 `_trained` uses it

        with together.meet(at) as group:
            for own, own_name in zip(each, names, strict=True) if not finished else ():
                job = dataclasses.replace(request, recipe=own, name=own_name)
                end(*_trained(job, resume, progress, group, first=not done, left=each[len(done) + 1 :]))
    if seeds > 1:
        then = next_step.line("plot-curves", run=[str(run.path) for run, _ in done[:_OVERLAID]])
        _deliver_seeds(done, [own.seed for own in each], quiet=quiet, as_json=as_json)
    else:
        then = next_step.line("eval", run=resume or name, runs_dir=runs_dir)
        _deliver_run(*done[0], quiet=quiet, as_json=as_json)
    if not quiet and not as_json:
        print_next(terminal.record_console(), then)


def _check(request: FitRequest, run: Run | None, names: Sequence[str | None], team: several.Team) -> FitResult | None:
    """Refuses what can be seen to be wrong before torch is loaded; returns the result if the run to resume is finished.

    Args:
        names: of the new runs, all of which are checked before the first is trained.
    """
    from era_cli.core.fit import request as asked
    from era_cli.runs import store

    if "batch_size" in request.given:
        asked.check_batch(request.recipe.batch_size, team.processes)
    if run is not None:
        asked.check_resume(run, request)
        document = run.read()
        return document.result if document.status == "finished" else None
    for name in names:
        store.check_name(request.runs_dir, name, overwrite=request.overwrite)
    request.check()
    return None


def _settings(recipe: str | None, given: dict[str, Any]) -> tuple[Recipe, bool]:
    """The recipe with the options `given`, and whether its peak learning rate is to be found first.

    `max_lr`, which is text, becomes a number in `given`, or is left out.
    """
    find_lr = given.get("max_lr") == AUTO
    if find_lr:
        del given["max_lr"]
    elif "max_lr" in given:
        given["max_lr"] = _learning_rate(given["max_lr"])
    return recipes.with_options(recipes.named(recipe or "default"), given), find_lr


def _deliver_run(run: Run, result: FitResult, *, quiet: bool, as_json: bool) -> None:
    """Prints what is still to be printed of one run: JSON, or one line where nothing else was shown."""
    from era_cli.console import terminal
    from era_cli.console.fit import headline
    from era_cli.runs import artifacts

    if as_json:
        files = [str(path) for path in artifacts.of_fit(run.path)]
        terminal.print_json(deliver.with_schema({**run.read().as_dict(), "run": str(run.path), "files": files}))
    elif quiet:
        deliver.print_headline(headline(result))


def _deliver_seeds(done: Sequence[tuple[Run, FitResult]], seeds: Sequence[int], *, quiet: bool, as_json: bool) -> None:
    """Prints what runs with these seeds reached together."""
    from era_cli import documents
    from era_cli.console import terminal
    from era_cli.console.fit import print_seeds, seeds_headline
    from era_cli.results import SeedResults

    several = SeedResults(
        runs=tuple(run.path for run, _ in done), seeds=tuple(seeds), results=tuple(result for _, result in done)
    )
    if as_json:
        terminal.print_json(deliver.with_schema(documents.seeds(several)))
    elif quiet:
        deliver.print_headline(seeds_headline(several))
    else:
        print_seeds(terminal.record_console(), several)


def _trained(
    job: FitRequest, resume: str | None, progress: FitProgress, group: Group, *, first: bool, left: Sequence[Recipe]
) -> tuple[Run, FitResult]:
    """Prepares, trains and draws one run, whose data are released when it is done; `left` are still to come."""
    from era_cli.core.fit import start
    from era_cli.runs import store

    try:
        with progress.waiting("loading the data"):
            if resume is None:
                prepared = start.prepare(job, progress, group)
            else:
                prepared = start.resume(store.find(job.runs_dir, resume), job, progress, group)
    except (EraError, Interrupted):
        if not first:
            progress.warn(_not_started(job, [job.recipe, *left]))
        raise
    try:
        result = prepared.train(progress, after_first_step=lambda plan: _draw_plan(plan, progress))
    except (EraError, Interrupted) as error:
        progress.stop()
        if (old := prepared.run.replaces) is not None:
            progress.warn(f"The new run did not get through its first step: {old} is still the old one.")
        elif isinstance(error, Interrupted | ProcessLost):
            progress.warn(_how_to_resume(prepared.run))
        elif prepared.run.read().status == "failed" and prepared.run.metrics_file.exists():
            _draw_curves(prepared.run, progress)
            progress.show_files(*_files(prepared.run))
        if left:
            progress.warn(_not_started(job, left))
        raise
    finally:
        progress.stop()
    _draw_curves(prepared.run, progress)
    return prepared.run, result


def _not_started(job: FitRequest, left: Sequence[Recipe]) -> str:
    first, last = left[0].seed, left[-1].seed
    if first != last:
        again = f"--seed {first} --seeds {len(left)}"
        return f"Seeds {first} to {last} were not started: run the same command with {again}."
    named = "" if job.name is None else f" --name {job.name.removesuffix(str(job.recipe.seed))}{first}"
    return f"Seed {first} was not started: run the same command with --seed {first}{named}, without --seeds."


def _learning_rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"--max-lr is {quoted(text)}, but must be a number or {AUTO}{did_you_mean(text, [AUTO])}"
        ) from None


def _draw_curves(run: Run, progress: FitProgress) -> None:
    """Draws what `era plot-curves` draws."""
    from era_cli.reports import curves, style
    from era_cli.runs import artifacts

    try:
        style.save(curves.curves([run.curves()]), run.path / artifacts.CURVES)
    except Exception as error:  # whatever it is, it must not fail a run that is trained
        progress.warn(f"The curves were not drawn ({error}): retry with era plot-curves.")


def _draw_plan(plan: FitPlan, progress: FitProgress) -> None:
    """Draws what the network will see and, if its learning rate was found by a sweep, the sweep."""
    from era_cli.reports import fit as report
    from era_cli.reports import lr_find, style
    from era_cli.runs import artifacts

    sweep, title = plan.sweep, f"Learning-rate range test before {plan.run.name}"
    drawings = {artifacts.SAMPLES: lambda: report.training_samples(plan.samples, plan.run.name)}
    if sweep is not None:
        drawings[artifacts.SWEEP] = lambda: lr_find.lr_curve(sweep, title)
    for name, draw in drawings.items():
        try:
            style.save(draw(), plan.run / name)
        except Exception as error:  # whatever it is, it must not fail the training
            progress.warn(f"{name} was not drawn ({error}); training continues without it.")


def _how_to_resume(run: Run) -> str:
    if not any(run.checkpoints.glob("*.ckpt")):
        again = f"--name {run.name} --overwrite"
        return f"{run.path} was stopped before its first step was saved: start it again with {again}."
    return f"{run.path} is saved; resume it with: {run.resume_command}"


def _files(run: Run) -> tuple[list[Path], list[Path]]:
    """The files that a fit wrote, those that a person opens and the others."""
    from era_cli.runs import artifacts

    return artifacts.opened_first(artifacts.of_fit(run.path))
