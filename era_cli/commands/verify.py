"""`era verify`: whether a run can be reproduced, as an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from era_cli.commands import deliver, options
from era_cli.commands.loading import loading
from era_cli.errors import EraError
from era_cli.recipes.recipe import DATA
from era_cli.signals import ending
from era_cli.text import plural

if TYPE_CHECKING:  # it loads numpy, which help does not need
    from era_cli.runs.document import RunDocument


def verify(
    *,
    run: options.RunName = "latest",
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            help="Replay only this many steps; by default all since the previous checkpoint, an epoch or less.",
            min=1,
            show_default=False,
        ),
    ] = None,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Repeat the run from its first step, which takes as long as training did."),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Where the images that the run was trained on are now, if they have moved.",
            metavar="cifar10|digits|PATH",
            rich_help_panel=DATA,
        ),
    ] = None,
    data_dir: options.DataDir = None,
    gpus: options.SameGpus = "auto",
    runs_dir: options.RunsDir = Path("runs"),
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Verify that a run can be reproduced: exit code 0 if it can, 1 if not.

    Replays the last steps from the previous checkpoint, tests the best epoch again, and compares weights, optimizer,
    losses, metrics and result bit for bit with what the run recorded. Writes nothing to the run.
    """
    with ending():
        from era_cli.core.verify.request import VerifyRequest
        from era_cli.runs import store

    chosen = store.find(runs_dir, run)
    request = VerifyRequest(
        run=chosen,
        document=chosen.read(),
        source=data,
        data_dir=data_dir,
        gpus=gpus,
        steps=steps,
        from_scratch=from_scratch,
    )
    request.check()
    with loading(quiet=quiet) as progress:
        from era_cli import documents
        from era_cli.console.verify import failure, print_verification, verdict
        from era_cli.core.verify.verify import verify as compare

    result = compare(request, progress)
    facts = [("run", str(chosen.path)), ("trained on", _trained_on(request.document))]
    deliver.deliver(
        {"run": str(chosen.path), **documents.verification(result)},
        lambda console, facts: print_verification(console, facts, result),
        [],
        facts=facts,
        headline=verdict(result) if result.reproduced else "",
        quiet=quiet,
        as_json=as_json,
    )
    if not result.reproduced:
        raise EraError(failure(result, chosen.path))


def _trained_on(document: RunDocument) -> str:
    device, versions = document.device, document.versions
    threads = f", {plural(device.threads, 'thread')}" if device.accelerator == "cpu" else ""
    return f"{device.name}, {device.precision}{threads}, torch {versions.torch}"
