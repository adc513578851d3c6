"""Whether a run can do without its training state, and what it then no longer can. Loads no torch."""

from __future__ import annotations

from era_cli.errors import EraError
from era_cli.runs import artifacts
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run


def check(run: Run, document: RunDocument) -> None:
    """Refuses a run that needs its training state.

    Raises:
        EraError: it is not finished, contains links, or has no checkpoint of its best epoch.
    """
    if document.status != "finished":
        raise EraError(
            f"{run.path} is not finished (status {document.status}), and needs its training state to be resumed"
            f" ({run.resume_command}): only a finished run can be slimmed"
        )
    run.refuse_links()
    if not (run.checkpoints / artifacts.BEST).is_file():
        raise EraError(f"{run.checkpoints} has no {artifacts.BEST}, without which nothing would be left: restore it")


def is_slim(run: Run, document: RunDocument) -> bool:
    """Whether the training states of a finished run are gone."""
    states = (artifacts.LAST, artifacts.PREVIOUS)
    return document.status == "finished" and not any((run.checkpoints / name).exists() for name in states)
