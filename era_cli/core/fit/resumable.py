"""The training state that a run is resumed from: its newest checkpoint that is whole and fits the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from era_cli.core.fit import continuity, rows, training_state
from era_cli.core.fit.rows import Rows
from era_cli.core.networks import checkpoint
from era_cli.errors import EraError
from era_cli.results import EpochRow, StepRow
from era_cli.runs import artifacts, history
from era_cli.runs.document import Environment, RunDocument
from era_cli.runs.run import Run
from era_cli.text import plural

_Version = tuple[str, int, int, int]  # name, inode, size and time of change: every save makes a new file


@dataclass(frozen=True)
class Resumable:
    """A valid training state after `step` steps, the rows until then, and the `environment` that computed it.

    `notes` say so if it is not the newest, or rows are lost.
    """

    path: Path
    step: int
    notes: tuple[str, ...]
    rows: Rows
    environment: Environment
    versions: tuple[_Version, ...]

    def is_newest(self) -> bool:
        """Whether the run's training states are still the files that they were when this one was read."""
        return _versions(self.path.parent) == self.versions


def newest(run: Run, document: RunDocument) -> Resumable:
    """The most recent valid training state of the run described by `document` (run.json), which nobody else trains.

    Raises:
        EraError: there is none, or none is valid.
    """
    faults = []
    for path in artifacts.training_states(run.checkpoints):
        try:
            state = checkpoint.read(path)
            training_state.check(state, document, path)
            step = state["global_step"]
            writer = state["callbacks"].get(training_state.WRITER, {})
            kept = _rows(run, document, writer, step)
        except EraError as error:
            faults.append(str(error))
        else:
            notes = [f"{faults[0]}; resuming from {path.name}, the checkpoint before it."] if faults else []
            if lost := step - kept.step_count:
                notes.append(f"{run.steps_file} lacks {plural(lost, 'row')}, which will be missing from the curves.")
            by = continuity.trained_by(writer, document)
            return Resumable(path, step, tuple(notes), kept, by, _versions(run.checkpoints))
    raise EraError("; ".join(faults) + ": no checkpoint is left to resume from; start a new run")


def _versions(checkpoints: Path) -> tuple[_Version, ...]:
    files = [(path.name, path.stat()) for path in artifacts.training_states(checkpoints)]
    return tuple((name, file.st_ino, file.st_size, file.st_mtime_ns) for name, file in files)


def _rows(run: Run, document: RunDocument, writer: Mapping[str, Any], step: int) -> Rows:
    if rows.KEY in writer:
        return Rows.of_state(writer[rows.KEY])
    return _rows_of_files(run, step, step // document.steps_per_epoch)


def _rows_of_files(run: Run, step: int, epochs: int) -> Rows:
    """The rows until a checkpoint of an earlier version, which has no copy of them.

    Lost rows of steps.csv are missing in the curves alone, those of metrics.csv in the choice of the best epoch, too.

    Raises:
        EraError: metrics.csv lacks a row.
    """
    done = [row for row in history.salvage(run.metrics_file, EpochRow)[0] if row.epoch <= epochs]
    if [row.epoch for row in done] != list(range(1, epochs + 1)):
        raise EraError(
            f"{run.metrics_file} lacks rows of the first {plural(epochs, 'epoch')}, and checkpoints of earlier versions"
            " of era hold no copy of them: restore that file from a backup"
        )
    steps = {row.step: row for row in history.salvage(run.steps_file, StepRow)[0] if 1 <= row.step <= step}
    return Rows(done, (steps[number] for number in sorted(steps)))
