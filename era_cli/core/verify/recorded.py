"""What a run recorded: its checkpoints and rows, and whether these agree with each other. Loads no lightning."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from era_cli.core.fit import continuity, rows, training_state
from era_cli.core.fit.rows import Rows
from era_cli.core.networks import checkpoint
from era_cli.core.verify.compare import difference
from era_cli.errors import EraError
from era_cli.results import Check, EpochRow, StepRow
from era_cli.runs import artifacts, best_epoch, history
from era_cli.runs.document import Environment, RunDocument
from era_cli.runs.run import Run
from era_cli.text import plural

_ROUNDING = 1e-12  # of a mean of float64 numbers


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Every training state of a run that is whole, by the name of its file, and every valid row.

    `faults` says of each other state what is wrong with it, `left_out` which lines are no rows.
    """

    states: dict[str, dict[str, Any]]
    faults: dict[str, str]
    steps: list[StepRow]
    epochs: list[EpochRow]
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, run: Run, document: RunDocument) -> Recorded:
        """What is in the folder of `run`, which may be in training: the newest state is read first, the rows last."""
        needed = {artifacts.LAST} if document.result is None else {artifacts.LAST, artifacts.BEST}
        states: dict[str, dict[str, Any]] = {}
        faults: dict[str, str] = {}

        def read(name: str) -> int:
            path = run.checkpoints / name
            if not path.exists() and name not in needed:
                return 0
            try:
                state = checkpoint.read(path)
                training_state.check(state, document, path)
            except EraError as error:
                faults[name] = str(error)
                return 0
            faults.pop(name, None)
            states[name] = state
            return int(state["global_step"])

        last = read(artifacts.LAST)
        if read(artifacts.PREVIOUS) >= last:  # training saved in between
            read(artifacts.LAST)
        read(artifacts.BEST)
        steps, steps_left_out = history.salvage(run.steps_file, StepRow)
        epochs, epochs_left_out = history.salvage(run.metrics_file, EpochRow)
        left_out = tuple(str(line) for line in (*steps_left_out, *epochs_left_out) if line.whole)
        return cls(states=states, faults=faults, steps=steps, epochs=epochs, left_out=left_out)

    def step_of(self, name: str) -> int | None:
        """After how many steps the state of this name was taken, None if there is none."""
        return self.states[name]["global_step"] if name in self.states else None

    def environment_of(self, name: str, document: RunDocument) -> Environment:
        """What computed the state of this name; the most recent session where it does not say so."""
        return continuity.trained_by(self.writer_of(name), document)

    def writer_of(self, name: str) -> Mapping[str, Any]:
        """What RunWriter keeps in the state of this name; nothing if there is none."""
        state = self.states.get(name, {"callbacks": {}})
        writer: Mapping[str, Any] = state["callbacks"].get(training_state.WRITER, {})
        return writer


def check_states(recorded: Recorded, document: RunDocument) -> Check:
    """Whether every checkpoint is whole, those of one step are equal, and the last of a finished run is of its end."""
    if recorded.faults:
        return Check(name="checkpoints", status="differs", detail=next(iter(recorded.faults.values())))
    last, total = recorded.step_of(artifacts.LAST), document.steps_per_epoch * document.recipe.epochs
    if document.status == "finished" and last != total:
        return Check(
            name="checkpoints",
            status="differs",
            detail=f"{artifacts.LAST} was taken after step {last}, but the run finished after step {total}",
        )
    for one, other in itertools.combinations(recorded.states, 2):
        if recorded.step_of(one) == recorded.step_of(other) and (unequal := _unequal(recorded, one, other)):
            return Check(name="checkpoints", status="differs", detail=unequal)
    files = [f"{name} (step {recorded.step_of(name):,})" for name in recorded.states]
    return Check(name="checkpoints", status="identical", detail=f"checksums of {', '.join(files)}")


def _unequal(recorded: Recorded, one: str, other: str) -> str | None:
    """What differs in two states of the same step."""
    parts = ("state_dict", "optimizer_states", "lr_schedulers")
    left, right = ({part: recorded.states[name][part] for part in parts} for name in (one, other))
    if (unequal := difference(left, right)) is None:
        return None
    step = recorded.step_of(one)
    return f"{one} and {other} were both taken after step {step:,}, but differ: {unequal.first}"


def check_rows(recorded: Recorded, document: RunDocument) -> Check:
    """Whether steps.csv and metrics.csv have a row for every step and epoch of the last state, and agree."""
    done = recorded.step_of(artifacts.LAST)
    if done is None:
        return Check(name="rows", status="skipped", detail=f"without a valid {artifacts.LAST} their number is unknown")
    epochs = done // document.steps_per_epoch
    wrong = _wrong_row(recorded, document, done, epochs)
    if wrong is not None:
        return Check(name="rows", status="differs", detail=wrong)
    counted = f"{plural(done, 'step')} and {plural(epochs, 'epoch')}"
    return Check(name="rows", status="identical", detail=f"steps.csv, metrics.csv and run.json agree on {counted}")


def _wrong_row(recorded: Recorded, document: RunDocument, done: int, epochs: int) -> str | None:
    """The first thing that is wrong with the rows, or None."""
    if recorded.left_out:
        return recorded.left_out[0]
    for name, count, numbers in (
        (artifacts.STEPS, done, [row.step for row in recorded.steps]),
        (artifacts.METRICS, epochs, [row.epoch for row in recorded.epochs]),
    ):
        if (number := _first_gap(numbers, count)) is not None:
            return f"row {number} of {name} is missing or out of order"
        if document.status == "finished" and len(numbers) > count:
            return f"{name} has {len(numbers)} rows, but the run has {count}"
    for state in recorded.states:
        if (wrong := _other_copy(recorded, state)) is not None:
            return wrong
    for row in recorded.epochs[:epochs]:
        own = recorded.steps[(row.epoch - 1) * document.steps_per_epoch : row.epoch * document.steps_per_epoch]
        loss = float(torch.tensor([step.loss for step in own], dtype=torch.float64).mean())
        if not math.isclose(row.train_loss, loss, rel_tol=_ROUNDING):
            return f"epoch {row.epoch}: train_loss {row.train_loss!r} in metrics.csv, mean {loss!r} in steps.csv"
        if row.lr != own[-1].lr:
            return f"epoch {row.epoch}: lr {row.lr!r} in metrics.csv, {own[-1].lr!r} in its last row of steps.csv"
    return _wrong_result(recorded, document)


def _other_copy(recorded: Recorded, state: str) -> str | None:
    """The first value of a file that is not that of its copy in this state; those of earlier versions have no copy."""
    writer = recorded.writer_of(state)
    if rows.KEY not in writer:
        return None
    kept = Rows.of_state(writer[rows.KEY])
    for name, unit, own, copies in (
        (artifacts.STEPS, "step", recorded.steps, kept.steps),
        (artifacts.METRICS, "epoch", recorded.epochs, kept.epochs),
    ):
        if (wrong := _other_row(own, copies, unit, name, state)) is not None:
            return wrong
    return None


def _other_row(own: Sequence[Any], copies: Sequence[Any], unit: str, file: str, state: str) -> str | None:
    """The first value of a file that is not that of the copies in this state."""
    for row, copy in zip(own, copies, strict=False):  # a file may have rows past the state
        for field, value in vars(copy).items():
            if getattr(row, field) != value:
                return f"{unit} {getattr(row, unit)}: {field} {getattr(row, field)!r} in {file}, {value!r} in {state}"
    return None


def _first_gap(numbers: Sequence[int], count: int) -> int | None:
    """The first of the rows 1 to `count` that is not in its place."""
    return next((place for place in range(1, count + 1) if numbers[place - 1 : place] != [place]), None)


def _wrong_result(recorded: Recorded, document: RunDocument) -> str | None:
    """What run.json says of the best epoch against its row and its state."""
    result = document.result
    if result is None:
        return None
    if result.best_epoch > len(recorded.epochs):
        return f"best_epoch {result.best_epoch} in run.json, but {artifacts.METRICS} has no such epoch"
    row = recorded.epochs[result.best_epoch - 1]
    if row.epoch in document.lost_epochs:
        return f"best_epoch {row.epoch} in run.json, which also lists that epoch in lost_epochs"
    best = best_epoch.best(each for each in recorded.epochs if each.epoch not in document.lost_epochs)
    if best != row:
        return f"best_epoch {row.epoch} in run.json, but epoch {best.epoch} is the best in {artifacts.METRICS}"
    if result.test_acc != result.test_correct / result.test_count:
        return f"test_acc {result.test_acc!r} in run.json, but {result.test_correct:,} of {result.test_count:,} correct"
    for field in ("val_acc", "val_loss"):
        claimed, own = getattr(result, field), getattr(row, field)
        if claimed != own:
            return f"{field} {claimed!r} in run.json, {own!r} in metrics.csv at epoch {row.epoch}"
    step = recorded.step_of(artifacts.BEST)
    if step is not None and step != result.best_epoch * document.steps_per_epoch:
        return f"best_epoch {result.best_epoch} in run.json, but {artifacts.BEST} was taken after step {step}"
    return None
