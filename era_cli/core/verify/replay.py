"""A run's steps, trained again in a folder of their own."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from era_cli.core.fit import training_state
from era_cli.core.fit.rows import Rows
from era_cli.core.fit.run_writer import AtomicCheckpointIO, RunWriter
from era_cli.core.networks import checkpoint
from era_cli.core.training import trainer
from era_cli.core.training.lightning import L
from era_cli.core.training.schedules import OneCycle
from era_cli.core.training.setup import Setup
from era_cli.listener import Advance, Listener
from era_cli.results import EpochRow, StepRow
from era_cli.runs import artifacts
from era_cli.runs.document import Environment
from era_cli.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The rows of the replayed steps and of the epochs that they completed, and the training state after the last."""

    steps: list[StepRow]
    epochs: list[EpochRow]
    state: dict[str, Any]


class Diverged(Exception):
    """A loss or a weight was NaN or infinite."""


class _LastStep(Exception):
    """The last step to be replayed is done and saved."""


class _Replay(RunWriter):
    """Writes what training writes, and ends after step `last`."""

    def __init__(self, run: Run, listener: Listener, setup: Setup, environment: Environment, last: int) -> None:
        super().__init__(
            run,
            listener,
            setup.steps_per_epoch,
            setup.recipe.batch_size,
            environment=environment,
            rows=Rows(),
            save_every=math.inf,
        )
        self._last = last

    @property
    def state_key(self) -> str:
        """The name of its state in a checkpoint, where it finds that of training."""
        return training_state.WRITER

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ends within an epoch, saved as a run that is stopped there."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        assert self._record is not None
        if trainer.global_step == self._last and not self._record.full:
            self._write_steps(trainer, pl_module)
            self._save(trainer, best=False)
            raise _LastStep

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ends with an epoch."""
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.global_step == self._last:
            raise _LastStep

    def _diverged(self, trainer: L.Trainer, what: str) -> None:
        raise Diverged(what)


class _Progress(Listener):
    """Moves a bar; the person need not know what else a training says."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance

    def step_done(self) -> None:
        self._advance(1)


def replay(
    setup: Setup, run: Run, origin: Path | None, first: int, last: int, environment: Environment, listener: Listener
) -> Replayed:
    """Trains steps `first` to `last` in the folder of `run`, from the training state at `origin`, in `environment`.

    This is the code of `era fit` and of `era fit --resume`. Without `origin` the steps are those of a new run.

    Raises:
        Diverged: it did.
        EraError: memory or disk ran out.
        Interrupted: a signal came.
    """
    with listener.work("replaying", last - first + 1, "steps") as advance, contextlib.suppress(_LastStep):
        trainer.run(
            setup,
            setup.classifier(OneCycle(setup.recipe, setup.total_steps), listener.note),
            callbacks=[_Replay(run, _Progress(advance), setup, environment, last)],
            plugins=[AtomicCheckpointIO()],
            epochs=setup.recipe.epochs,
            resume_from=origin,
        )
    return Replayed(
        steps=[row for row in run.steps() if row.step >= first],
        epochs=run.epochs(),
        state=checkpoint.read(run.checkpoints / artifacts.LAST),
    )
