"""`era plot-curves`: loss, accuracy and learning rate of one run or several."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from era_cli.commands import deliver, next_step, options
from era_cli.commands.recipe_options import default_text
from era_cli.errors import EraError, UsageError

if TYPE_CHECKING:  # these load matplotlib and numpy, which help does not need
    from matplotlib.figure import Figure

    from era_cli.results import Curves
    from era_cli.runs.run import Run


def plot_curves(
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            help="A run's name, its path, latest (the most recent run), or a pattern of names or paths like"
            " 'sweep-*'; repeat to overlay runs." + default_text("latest"),
            show_default=False,
            metavar="RUN",
        ),
    ] = None,
    baseline: Annotated[
        float | None,
        typer.Option(
            "--baseline",
            help="An accuracy to draw as a reference line, e.g. 0.9311.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    runs_dir: options.RunsDir = Path("runs"),
    out: options.Out = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Draw loss, accuracy and learning rate over the epochs.

    Also works for a run that is still training or was interrupted. Writes curves.png into the run folder; for several
    runs, into --runs-dir.
    """
    if baseline is not None and not 0 <= baseline <= 1:  # Typer lets NaN through
        raise UsageError(f"--baseline is {baseline}, but must be an accuracy in [0, 1], e.g. 0.9311")

    from era_cli import documents
    from era_cli.console.curves import headline, print_curves
    from era_cli.console.progress import WorkProgress
    from era_cli.runs import artifacts, store

    named = [one for name in run or [store.LATEST] for one in store.find_all(runs_dir, name)]
    runs = list({one.path.resolve(): one for one in named}.values())
    drawn = [one.curves() for one in runs]
    progress = WorkProgress(quiet=quiet)
    for data in drawn:
        for line in data.left_out:
            progress.warn(f"Left out {line}.")
    if not any(data.epochs for data in drawn):
        raise EraError(f"there is no epoch to draw in {runs[0].path} yet: wait for the first, or name a run with --run")
    folder = runs[0].path if len(runs) == 1 else runs_dir

    def draw() -> Figure:
        from era_cli.reports.curves import curves

        return curves(drawn, baseline=baseline)

    deliver.deliver(
        {
            "runs": [{"run": str(one.path), **documents.curves(data)} for one, data in zip(runs, drawn, strict=True)],
            "baseline": baseline,
        },
        lambda console, facts: print_curves(console, drawn),
        [deliver.figure(out or folder / artifacts.CURVES, draw)],
        headline=headline(drawn),
        then=_next(runs, drawn, runs_dir, latest=not run),
        quiet=quiet,
        as_json=as_json,
    )


def _next(runs: Sequence[Run], drawn: Sequence[Curves], runs_dir: Path, *, latest: bool) -> str:
    """The finished run with the highest validation accuracy is evaluated; one that was interrupted is resumed.

    Two finished runs on the same data are compared.
    """
    finished = [place for place, data in enumerate(drawn) if data.test_acc is not None]
    if len(runs) == len(finished) == 2 and len({run.read().data.content_hash for run in runs}) == 1:
        names = [run.name if run.path.parent == runs_dir else str(run.path) for run in runs]
        return f"{next_step.line('compare', runs_dir=runs_dir)} {shlex.join(names)}"
    if finished:
        best = runs[max(finished, key=lambda place: drawn[place].val_acc or 0)]
        if best.path.parent == runs_dir:
            return next_step.line("eval", run=None if latest else best.name, runs_dir=runs_dir)
        return next_step.line("eval", run=str(best.path))
    return runs[0].resume_command if [data.status for data in drawn] == ["interrupted"] else ""
