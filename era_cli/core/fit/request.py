"""What a person asks of `era fit`. Loads no torch, so that what is wrong with it is said at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from era_cli.core.data import run_data, sources
from era_cli.core.training.request import Request, check_batch
from era_cli.errors import UsageError
from era_cli.recipes import flag
from era_cli.runs import artifacts
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run
from era_cli.text import plural

__all__ = ["FitRequest", "check_batch", "check_resume", "finished"]


@dataclass(frozen=True, kw_only=True)
class FitRequest(Request):
    """What a person asked `era fit` for; `command` is the command line, for run.json.

    `overwrite` lets the new run replace one called `name`.
    """

    runs_dir: Path
    name: str | None
    overwrite: bool = False
    command: list[str]


def check_resume(run: Run, request: FitRequest) -> None:
    """Refuses to resume a run that is in use, without its images, with links in it, or asked to train otherwise.

    Of a finished run, which has nothing left to train, only the options are checked.

    Raises:
        UsageError: an option differs from the run's.
        EraError: the run cannot be resumed.
    """
    document = run.read()
    _refuse_changes(run, document, request)
    if document.status == "finished":
        return
    run_data.check(run, document, source=request.source, data_dir=request.data_dir)
    run.refuse_links()
    with run.lock():  # finds a live trainer before anything is loaded
        artifacts.training_states(run.checkpoints)


def finished(run: Run, document: RunDocument) -> str:
    """The sentence about a run that has nothing left to train."""
    return (
        f"{run.path} is finished ({plural(document.recipe.epochs, 'epoch')}): to train longer, start a new run,"
        " since a one-cycle schedule is fixed to its number of epochs."
    )


def _refuse_changes(run: Run, document: RunDocument, request: FitRequest) -> None:
    recipe, source = document.recipe, document.data.source
    changes = [
        (flag(field), value, getattr(recipe, field))
        for field, value in request.given.items()
        if value != getattr(recipe, field) and (field, value) != ("precision", document.device.precision)
    ]
    if request.find_lr and document.lr_find is None:
        changes.append(("--max-lr", "auto", recipe.max_lr))
    if request.sync_batchnorm and not document.device.sync_batchnorm:
        raise UsageError(
            f"{run.path} was trained without --sync-batchnorm: a resumed run keeps its settings; leave the option"
            " out, or start a new run"
        )
    # One folder for another may be the same that was moved: its content will tell.
    if request.source is not None and request.source != source and {request.source, source} & set(sources.NAMED):
        changes.append(("--data", request.source, source))
    if request.name is not None and request.name != run.name:
        changes.append(("--name", request.name, run.name))
    if changes:
        option, value, stored = changes[0]
        raise UsageError(
            f"{option} {value} differs from the {stored} of {run.path}: a resumed run keeps its settings;"
            " leave the option out, or start a new run"
        )
