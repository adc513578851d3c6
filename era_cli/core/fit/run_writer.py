"""The Lightning callback that keeps a run folder up to date during training."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from era_cli.core.fit import continuity, rows
from era_cli.core.fit.epoch_record import EpochRecord
from era_cli.core.fit.rows import Rows
from era_cli.core.fit.stopwatch import Stopwatch
from era_cli.core.networks import checkpoint
from era_cli.core.training.group import NOBODY_ELSE, Group, is_loss
from era_cli.core.training.lightning import CheckpointIO, L
from era_cli.core.training.module import Classifier
from era_cli.core.training.signals import SignalCallback
from era_cli.errors import EraError, Interrupted
from era_cli.listener import Listener
from era_cli.results import EpochRow
from era_cli.runs import artifacts, best_epoch, history, replacement
from era_cli.runs.document import Environment
from era_cli.runs.run import Run

SAVE_EVERY = 300.0  # seconds within an epoch: the most work that a crash may cost
_CHECK_EVERY = 50  # steps between two looks for NaN on a GPU, where a look waits for the device


class AtomicCheckpointIO(CheckpointIO):
    """How Lightning reads and writes checkpoints: whole files, plain tensors.

    Lightning's own stages files in another folder and moves them unsynced (PL#21253). Of several processes the first
    alone reads and writes.
    """

    def __init__(self, group: Group = NOBODY_ELSE) -> None:
        self._group = group

    def save_checkpoint(self, checkpoint_state: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes the state to `path`, whole or not at all."""
        checkpoint.write(checkpoint_state, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Reads the state, never more than tensors and plain values, whatever Lightning asks for."""
        content = checkpoint.read_bytes(Path(path)) if self._group.is_first else None
        return checkpoint.parse(self._group.bytes_of_first(content), Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Removes the file."""
        Path(path).unlink(missing_ok=True)


class RunWriter(SignalCallback):
    """Writes metrics.csv, steps.csv and the checkpoints, tells the listener, and stops on a signal.

    A run that replaces another takes its place after the first step.

    A row is written before the checkpoint that counts on it, so that what a crash leaves can always
    be cut back to the checkpoint.

    Of several processes each has one: after every step they agree on whether to save or to stop, so that all do it
    there. The first one writes.

    Args:
        run: where to write; None in the other processes.
        group: the processes that train together.
        environment: what trains in this session; every checkpoint says what computed it.
        rows: those of the steps and epochs done so far, to which it adds.
        best: the epoch whose state is the best one kept so far, of a resumed run.
    """

    def __init__(
        self,
        run: Run | None,
        listener: Listener,
        steps_per_epoch: int,
        batch_size: int,
        after_first_step: Callable[[], None] = lambda: None,
        *,
        environment: Environment,
        rows: Rows,
        best: EpochRow | None = None,
        group: Group = NOBODY_ELSE,
        save_every: float = SAVE_EVERY,
    ) -> None:
        super().__init__()
        self._run = run
        self._listener = listener
        self._steps_per_epoch = steps_per_epoch
        self._batch_size = batch_size
        self._after_first_step: Callable[[], None] | None = after_first_step
        self._environment = environment
        self._rows = rows
        self._best = best
        self._group = group
        self._save_every = save_every if run is not None else math.inf  # the first process says when
        self._record: EpochRecord | None = None
        self._restored: dict[str, Any] = {}
        self._written = 0  # steps of this epoch that stand in steps.csv
        self._epoch_watch = Stopwatch()
        self._train_watch = Stopwatch()
        self._step_began = 0.0
        self._saved_at = 0.0
        self._val_seconds = 0.0  # of the epoch before
        self._rate = 0.0
        self._under_way = False  # whether a step of this epoch has begun
        self._told = False

    def state_dict(self) -> dict[str, Any]:
        """What trains, every row so far and, for a checkpoint within an epoch, the part of it that is done."""
        state: dict[str, Any] = {
            rows.KEY: self._rows.state_dict(),
            continuity.KEY: continuity.state_of(self._environment),
        }
        if self._record is None or not len(self._record):
            return state
        return {
            **state,
            "steps": self._record.state_dict(),
            "seconds": self._epoch_watch.seconds,
            "train_seconds": self._train_watch.seconds,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the part of an epoch until its device is known; the rows are given to `__init__`."""
        self._restored = state_dict

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Resumes within an epoch where the run was stopped in one."""
        self._begin_epoch(pl_module.device)
        if "steps" in self._restored:
            assert self._record is not None
            self._record.load_state_dict(self._restored["steps"])
            self._written = len(self._record)
            self._epoch_watch = Stopwatch(self._restored["seconds"])
            self._train_watch = Stopwatch(self._restored["train_seconds"])
        self._saved_at = time.monotonic()
        super().on_train_start(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Notes the rate that this step will use."""
        assert self._record is not None
        if not self._under_way:
            self._under_way = True
            self._epoch_watch.start()
            self._train_watch.start()
            self._listener.epoch_started(trainer.current_epoch + 1, len(self._record))
        self._step_began = time.monotonic()
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Records the step; within the epoch, saves when it is due or a signal came."""
        assert self._record is not None
        self._record.add(outputs["loss"], outputs["correct"], self._rate)
        if pl_module.device.type == "cpu" or len(self._record) % _CHECK_EVERY == 0:
            (nan,) = self._group.highest([self._record.first_not_finite() is not None])
            if nan:
                self._refuse_nan_loss(trainer)
        self._listener.step_done()
        if self._after_first_step is not None:
            self._epoch_watch.stop()
            self._train_watch.stop()
            if self._run is not None and self._run.replaces is not None:
                self.signals.raise_received()  # while the old run is still there
                replacement.take_place(self._run)
            self._after_first_step()
            self._after_first_step = None
            self._epoch_watch.start()
            self._train_watch.start()
        if self._record.full:
            if pl_module.device.type == "cuda":
                torch.cuda.synchronize(pl_module.device)  # once an epoch, for an honest clock
            self._train_watch.stop()
            self._listener.validating()
            return
        now = time.monotonic()
        # One more step like this one, and the validation if that step is the last, must not push the
        # gap between two saves over the bound.
        ahead = now - self._step_began + (self._val_seconds if self._record.remaining == 1 else 0.0)
        save, stop = self._agree(save=now + ahead - self._saved_at >= self._save_every)
        if save or stop:
            self._write_steps(trainer, pl_module)
            self._save(trainer, best=False)
        if stop:
            self.signals.raise_received()

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Says that a signal has been heard: the epoch is finished first, since it cannot be saved before."""
        if self.signals.received is not None and not self._told:
            self._told = True
            self._listener.warn("Stopping once this epoch is validated and saved; a second signal stops at once.")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the epoch's rows, then its checkpoint."""
        assert isinstance(pl_module, Classifier)
        assert self._record is not None
        self._write_steps(trainer, pl_module)
        row = EpochRow(
            epoch=trainer.current_epoch + 1,
            train_loss=self._record.loss,
            train_acc=self._record.accuracy,
            val_loss=float(pl_module.val_loss_sum) / pl_module.val_count if pl_module.val_count else None,
            val_acc=int(pl_module.val_correct) / pl_module.val_count if pl_module.val_count else None,
            lr=self._rate,
            seconds=self._epoch_watch.seconds,
            images_per_second=len(self._record) * self._batch_size / self._train_watch.seconds,
        )
        if row.val_loss is not None and not math.isfinite(row.val_loss):
            self._diverged(trainer, "the validation loss was NaN or infinite")
        self._val_seconds = self._epoch_watch.seconds - self._train_watch.seconds
        self._begin_epoch(pl_module.device)
        if self._run is not None:
            history.append(self._run.metrics_file, [row])
        self._rows.epochs.append(row)
        # Not the rows alone: the state of a better one may be lost, or was never kept by an older version of era.
        best = self._best is None or best_epoch.best([self._best, row]) == row
        self._save(trainer, best=best)
        if best:
            self._best = row
        self._listener.epoch_ended(row, best)
        _, stop = self._agree()
        if stop:
            self.signals.raise_received()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Tells the first process at once why another fails: ending the trainer may wait for the others."""
        if self._run is None and not is_loss(exception):
            self._group.excuse(_why(exception))
        super().on_exception(trainer, pl_module, exception)

    def _agree(self, *, save: bool = False) -> tuple[bool, bool]:
        """Whether all processes save now, and whether all stop, because one of them has to.

        A signal that comes after this counts after the next step: a process that stopped by itself would be lost.
        """
        save_now, signum = self._group.highest([save, self.signals.received or 0])
        if signum and self.signals.received is None:
            self.signals.received = signum
        return bool(save_now), bool(signum)

    def _begin_epoch(self, device: torch.device) -> None:
        self._record = EpochRecord(self._steps_per_epoch, self._batch_size, device)
        self._written = 0
        self._epoch_watch, self._train_watch = Stopwatch(), Stopwatch()
        self._under_way = False

    def _write_steps(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Brings steps.csv up to date; NaN gets neither there nor into a checkpoint."""
        assert self._record is not None
        self._refuse_nan_loss(trainer)
        if not all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values()):
            self._diverged(trainer, f"a weight was NaN or infinite after step {trainer.global_step}")
        first_step = trainer.global_step - len(self._record) + 1
        added = self._record.rows(first_step, self._written)
        if self._run is not None:
            history.append(self._run.steps_file, added)
        self._rows.add_steps(added)
        self._written = len(self._record)

    def _save(self, trainer: L.Trainer, *, best: bool) -> None:
        if self._run is None:
            trainer.save_checkpoint(artifacts.LAST, weights_only=False)  # Lightning's wait for the first process
        else:
            folder = self._run.checkpoints
            checkpoint.keep_previous(folder)
            trainer.save_checkpoint(folder / artifacts.LAST, weights_only=False)
            if best:
                checkpoint.mark_best(folder)
        self._saved_at = time.monotonic()

    def _refuse_nan_loss(self, trainer: L.Trainer) -> None:
        assert self._record is not None
        self._record.gather(self._group)
        if (place := self._record.first_not_finite()) is not None:
            step = trainer.global_step - len(self._record) + place + 1
            self._diverged(trainer, f"the loss was NaN or infinite at step {step}")

    def _diverged(self, trainer: L.Trainer, what: str) -> None:
        kept = ""
        if self._run is not None and (self._run.checkpoints / artifacts.LAST).exists():
            kept = f", or see the last good checkpoint in {self._run.checkpoints}"
        raise EraError(f"training diverged: {what} (epoch {trainer.current_epoch + 1}); lower --max-lr{kept}")


def _why(error: BaseException) -> str:
    if isinstance(error, Interrupted):
        return f"stopped by {signal.Signals(error.signum).name}"
    return str(error) or type(error).__name__
