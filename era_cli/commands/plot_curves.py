"""`era plot-curves`: loss, accuracy and learning rate of one run or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from era_cli.commands import options
from era_cli.errors import EraError, UsageError


def plot_curves(
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            help="A run's name, its path, or latest, the one begun last; several times to lay runs over each other."
            + options.default_text("latest"),
            show_default=False,
            metavar="RUN",
        ),
    ] = None,
    baseline: Annotated[
        float | None,
        typer.Option(
            "--baseline",
            help="An accuracy to draw as a line of reference, e.g. 0.9311.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
    runs_dir: options.RunsDir = Path("runs"),
    out: options.Out = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Draw loss, accuracy and learning rate over the epochs.

    Takes a run that is still training or was interrupted, too. Writes curves.png into the run folder; for several
    runs, into the folder of the runs.
    """
    if baseline is not None and not 0 <= baseline <= 1:  # Typer lets NaN through
        raise UsageError(f"--baseline is {baseline}, but must be an accuracy in [0, 1], e.g. 0.9311")

    from era_cli import documents
    from era_cli.console import terminal
    from era_cli.console.curves import print_curves
    from era_cli.console.progress import WorkProgress, print_files
    from era_cli.reports import curves, style
    from era_cli.runs import store

    runs_dir = runs_dir.expanduser()
    named = [store.find(runs_dir, name) for name in run or [store.LATEST]]
    found = list({one.path.resolve(): one for one in named}.values())
    drawn = [one.curves() for one in found]
    progress = WorkProgress(quiet=quiet)
    for one in drawn:
        for line in one.left_out:
            progress.note(f"Left out {line}.")
    if not any(one.epochs for one in drawn):
        raise EraError(
            f"there is no epoch to draw in {found[0].path} yet: wait for the first, or name a run with --run"
        )
    file = out or (found[0].curves_file if len(found) == 1 else runs_dir / "curves.png")
    style.save(curves.curves(drawn, baseline=baseline), file)
    if as_json:
        document = {
            "schema": documents.SCHEMA,
            "runs": [{"run": str(one.path), **documents.curves(data)} for one, data in zip(found, drawn, strict=True)],
            "baseline": baseline,
            "files": [str(file)],
        }
        terminal.print_json(document)
        return
    console = terminal.record_console()
    if not quiet:
        print_curves(console, drawn)
    print_files(console, [file])
