"""`era runs`: the runs there are, everything about one, and one without its training state."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from era_cli.choices import RunOrder
from era_cli.commands import deliver, next_step, options, run_facts
from era_cli.commands.loading import loading
from era_cli.errors import EraError, UsageError
from era_cli.text import one_line

if TYPE_CHECKING:  # these load numpy, which help does not need
    from era_cli.results import RunSummary
    from era_cli.runs.run import Run

_COST = (
    "removes what only training needs: the run can then no longer be resumed, its training no longer verified, and"
    " --checkpoint last no longer evaluated; everything else stays the same. This cannot be undone"
)


def runs(
    *,
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show everything about this run: its name, its path, or latest (the most recent run).",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        RunOrder, typer.Option("--sort", help="Sort by this column, the newest, best or largest last.")
    ] = RunOrder.STARTED,
    slim: Annotated[
        bool,
        typer.Option(
            "--slim",
            help="Free the disk space that only training needs, about three quarters of it, of the finished run NAME."
            " It can then be evaluated as before, but not resumed or verified.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --slim.")] = False,
    runs_dir: options.RunsDir = Path("runs"),
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Print only the names of the runs, one per line; of one run only its result.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the runs, or show everything about one.

    A run whose process is gone is listed as interrupted, and one whose run.json cannot be read as unreadable.
    """
    if slim and name is None:
        raise UsageError("--slim slims one run: name it, as in era runs --slim NAME")
    if yes and not slim:
        raise UsageError("--yes answers the question of --slim: give it with --slim, or leave it out")
    if name is None:
        _list(runs_dir, sort, quiet=quiet, as_json=as_json)
        return

    from era_cli.runs import store

    run = store.find(runs_dir, name)
    if slim:
        _slim(run, name, runs_dir, asked=not yes, quiet=quiet, as_json=as_json)
    else:
        _show(run, name, runs_dir, quiet=quiet, as_json=as_json)


def _list(runs_dir: Path, order: RunOrder, *, quiet: bool, as_json: bool) -> None:
    from era_cli import documents
    from era_cli.console import terminal
    from era_cli.console.runs import print_runs
    from era_cli.runs import listing

    found = listing.everything(runs_dir)
    console = terminal.record_console()
    if not found and not quiet and not as_json:
        text = f"There is no run under {runs_dir} yet: train one with era fit, or name another --runs-dir."
        console.print(terminal.printable(text), soft_wrap=not console.is_terminal)
        return
    listed = listing.ordered(found, order)
    if quiet and not as_json:
        console.print(terminal.printable_lines(run.name for run in listed), end="", soft_wrap=True)
        return
    deliver.deliver(
        {"runs": [documents.run(run) for run in listed]},
        lambda console, facts: print_runs(console, listed),
        [],
        headline="",
        then=_next(found, runs_dir),
        quiet=quiet,
        as_json=as_json,
    )


def _show(run: Run, name: str, runs_dir: Path, *, quiet: bool, as_json: bool) -> None:
    from era_cli import documents
    from era_cli.console.runs import headline, print_run
    from era_cli.runs import listing

    document, details = listing.details(run)
    files = [deliver.File(run.path / file.path) for file in details.files]
    deliver.deliver(
        {**document.as_dict(), **documents.run_details(details)},
        lambda console, facts: print_run(console, facts, details),
        files if as_json else [],  # the table has them
        facts=run_facts.facts(run, document, details.summary),
        headline=headline(details.summary),
        then=_after(run, name, runs_dir, details.summary),
        quiet=quiet,
        as_json=as_json,
    )


def _slim(run: Run, name: str, runs_dir: Path, *, asked: bool, quiet: bool, as_json: bool) -> None:
    from era_cli.runs import slimming

    slimming.check(run, run.read())
    if run.is_in_use():
        raise run.in_use()
    if asked:
        _confirm(run)
    with loading(quiet=quiet):
        from era_cli import documents
        from era_cli.console.runs import freed, print_slimmed
        from era_cli.core.evaluation import slim

    slimmed = slim.slim(run)
    deliver.deliver(
        {"run": str(run.path), **documents.slimmed(slimmed)},
        lambda console, facts: print_slimmed(console, facts, slimmed),
        [],
        facts=[("run", str(run.path))],
        headline=f"freed {freed(slimmed)}",
        then=next_step.line("eval", run=name, runs_dir=runs_dir),
        quiet=quiet,
        as_json=as_json,
    )


def _confirm(run: Run) -> None:
    """Asks whether the run may be slimmed.

    Raises:
        UsageError: there is nobody to ask.
        EraError: the answer is no.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"--slim {_COST}: confirm it with --yes")

    from era_cli.console import terminal

    console = terminal.record_console(to_stderr=True)
    console.print(terminal.printable(one_line(f"--slim {_COST}.")))
    console.print(terminal.printable(f"Slim {run.path}? [y/N] "), end="", soft_wrap=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise EraError(f"{run.path} was left as it is: answer y, or give --yes, to slim it")


def _after(run: Run, name: str, runs_dir: Path, summary: RunSummary) -> str:
    if summary.status == "finished":
        return next_step.line("eval", run=name, runs_dir=runs_dir)
    if summary.status == "running":
        return next_step.line("plot-curves", run=name, runs_dir=runs_dir)
    return run.resume_command if summary.status == "interrupted" and summary.epochs else ""


def _next(found: Sequence[RunSummary], runs_dir: Path) -> str:
    """Everything about the most recent run that can be read."""
    names = [run.name for run in found if run.status != "unreadable"]
    return f"{next_step.line('runs', runs_dir=runs_dir)} {shlex.quote(names[-1])}" if names else ""
