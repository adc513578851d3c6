"""Training: a Fit fills its run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from era_cli import history, runs
from era_cli.core import checkpoint, devices, inference
from era_cli.core.augment import Augmentation
from era_cli.core.data.dataset import Dataset
from era_cli.core.data.splits import steps_per_epoch
from era_cli.core.datamodule import EraDataModule, epoch_order
from era_cli.core.module import Classifier
from era_cli.core.normalize import Normalization
from era_cli.core.run_writer import AtomicCheckpointIO, RunWriter
from era_cli.core.seeds import Stream, derived_seed, generator
from era_cli.core.stopwatch import Stopwatch
from era_cli.core.summary import layer_rows
from era_cli.errors import EraError, Interrupted
from era_cli.files import atomic_link, sweep_temporaries
from era_cli.listener import Listener
from era_cli.recipe import Recipe
from era_cli.results import EpochRow, FitPlan, FitResult, Labels, Samples
from era_cli.runs import Run

SAMPLES = 40  # images in the picture of what the network sees


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A run ready to train: `prepare` and `resume` make it, `train` does it.

    `session` is what run.json says of this sitting: device, versions, git commit and command.
    """

    run: Run
    recipe: Recipe
    dataset: Dataset
    train_indices: Labels
    val_indices: Labels
    normalization: Normalization
    device: devices.Device
    session: Mapping[str, Any]
    resume_from: checkpoint.Resumable | None = None
    notes: tuple[str, ...] = ()

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch."""
        return steps_per_epoch(self.train_indices, self.recipe)

    @property
    def augmentation(self) -> Augmentation:
        """The recipe's augmentation at this source's image size."""
        return Augmentation.of(self.recipe, self.dataset.image_size, self.normalization.mean)

    def plan(self) -> FitPlan:
        """What is about to happen, for the person to read."""
        network = checkpoint.new_network(self.recipe, len(self.dataset.classes))
        blocks, leaves = layer_rows(network, self.dataset.image_size)
        parts = {"train": self.train_indices, "val": self.val_indices, "test": self.dataset.test}
        return FitPlan(
            run=self.run.path,
            source=self.dataset.source,
            classes=self.dataset.classes,
            class_counts={
                name: np.bincount(self.dataset.labels[part], minlength=len(self.dataset.classes))
                for name, part in parts.items()
            },
            image_size=self.dataset.image_size,
            layers=blocks,
            leaf_layers=leaves,
            device=self.device.name,
            precision=self.device.precision,
            steps_per_epoch=self.steps_per_epoch,
            steps_done=self._steps_done,
            rows_done=tuple(self._rows_done()),
            samples=self._samples(),
            notes=self.notes,
        )

    def train(self, listener: Listener) -> FitResult:
        """Trains to the last epoch, judges the best one on the test split, and writes all of it to the run.

        Raises:
            EraError: training diverged, memory or disk ran out, or another process trains or trained this run.
            Interrupted: a signal came; the run is saved and can be resumed.
        """
        with self.run.lock():
            self._refuse_if_moved_on()
            sweep_temporaries(self.run.checkpoints)
            sweep_temporaries(self.run.path)
            document = self.run.read()
            watch = Stopwatch(float(document["seconds"]))
            watch.start()
            sessions = [*document["sessions"], {"started": runs.now(), **self.session}]
            self.run.update(status="running", ended=None, error=None, sessions=sessions, **self.session)
            status: runs.Status = "failed"
            outcome: dict[str, Any] = {}
            try:
                listener.planned(self.plan(), self.recipe)
                with _memory_explained(self.recipe):
                    self._train_network(listener)
                result = self._judge(listener, watch)
                status, outcome = "finished", {"result": dataclasses.asdict(result)}
                return result
            except (Interrupted, KeyboardInterrupt):
                status = "interrupted"
                raise
            except Exception as error:
                outcome = {"error": str(error)}
                raise
            finally:
                self.run.update(status=status, ended=runs.now(), seconds=watch.seconds, **outcome)

    def _train_network(self, listener: Listener) -> None:
        if self.resume_from is not None:
            self._cut_back()
            self._mend_best()
        torch.manual_seed(derived_seed(self.recipe.seed, Stream.START))
        module = Classifier(
            checkpoint.new_network(self.recipe, len(self.dataset.classes)),
            self.recipe,
            self.augmentation,
            self.normalization,
            total_steps=self.steps_per_epoch * self.recipe.epochs,
        )
        data = EraDataModule(
            self.dataset,
            self.train_indices,
            self.val_indices,
            self.recipe.batch_size,
            self.steps_per_epoch,
            self.recipe.seed,
        )
        with _quiet_lightning():
            trainer = L.Trainer(
                accelerator=self.device.accelerator,
                devices=1,
                precision=devices.LIGHTNING_PRECISION[self.device.precision],  # type: ignore[arg-type]
                max_epochs=self.recipe.epochs,
                limit_val_batches=1.0 if len(self.val_indices) else 0,
                num_sanity_val_steps=0,
                # Each epoch asks the data module anew: its order depends on the epoch's number.
                reload_dataloaders_every_n_epochs=1,
                use_distributed_sampler=False,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[RunWriter(self.run, listener, self.steps_per_epoch, self.recipe.batch_size)],
                # A SLURM environment would requeue and resume by itself.
                plugins=[AtomicCheckpointIO(), LightningEnvironment()],
                default_root_dir=self.run.path,
            )
            trainer.fit(
                module,
                datamodule=data,
                ckpt_path=None if self.resume_from is None else self.resume_from.path,
                weights_only=True,
            )

    @property
    def _steps_done(self) -> int:
        return 0 if self.resume_from is None else self.resume_from.step

    def _rows_done(self) -> list[EpochRow]:
        epochs = self._steps_done // self.steps_per_epoch
        return [row for row in self.run.epochs() if row.epoch <= epochs]

    def _cut_back(self) -> None:
        """Drops the rows that lie past the checkpoint: they will be written again."""
        history.rewrite(self.run.steps_file, [row for row in self.run.steps() if row.step <= self._steps_done])
        history.rewrite(self.run.metrics_file, self._rows_done())

    def _mend_best(self) -> None:
        """A crash between two files, or a damaged newest state, may leave `best` behind the rows."""
        assert self.resume_from is not None
        rows = self._rows_done()
        if not rows:
            return
        wanted = history.best(rows).epoch * self.steps_per_epoch
        best = self.run.checkpoints / checkpoint.BEST
        if checkpoint.step_of(best) != wanted and self.resume_from.step == wanted:
            atomic_link(self.resume_from.path, best)

    def _refuse_if_moved_on(self) -> None:
        """Another era may have trained this run while this one loaded its data."""
        if self.resume_from is None:
            return
        if self.run.read()["status"] == "finished" or checkpoint.newest(self.run.checkpoints) != self.resume_from:
            raise EraError(f"{self.run.path} was trained on by another era in the meantime: ask again")

    def _judge(self, listener: Listener, watch: Stopwatch) -> FitResult:
        path = self.run.checkpoints / checkpoint.BEST
        if (step := checkpoint.step_of(path)) is None:  # damaged, and its epoch cannot be had back
            checkpoint.mark_best(self.run.checkpoints)
            step = self.steps_per_epoch * self.recipe.epochs
        best = self.run.epochs()[step // self.steps_per_epoch - 1]
        network = checkpoint.load_network(self.run.read(), path)
        evaluation = inference.evaluate(
            network.to(self.device.torch_device),
            self.dataset,
            self.dataset.test,
            self.normalization,
            listener,
            what="testing the best epoch",
        )
        return FitResult(
            best_epoch=best.epoch,
            best_val_acc=best.val_acc,
            best_val_loss=best.val_loss,
            test_acc=evaluation.accuracy,
            test_loss=evaluation.loss,
            test_correct=evaluation.correct,
            test_count=len(evaluation.labels),
            seconds=watch.seconds,
        )

    def _samples(self) -> Samples:
        """The first images of the first batch, as the first step sees them."""
        order = epoch_order(torch.from_numpy(self.train_indices), self.recipe.seed, 0)[: self.recipe.batch_size]
        images = torch.from_numpy(self.dataset.images[order.numpy()])
        augmented = self.augmentation(images, generator(self.recipe.seed, Stream.AUGMENTATION, 0))[:SAMPLES]
        return Samples(
            images=augmented.permute(0, 2, 3, 1).numpy(),
            labels=self.dataset.labels[order.numpy()][:SAMPLES],
            classes=self.dataset.classes,
            augmentation=str(self.augmentation),
        )


@contextlib.contextmanager
def _memory_explained(recipe: Recipe) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise EraError(
            f"memory ran out with batches of {recipe.batch_size}: use a smaller --batch-size or --image-size"
        ) from error


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keeps Lightning's remarks off the terminal: they speak of loaders and loggers that era does not use."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        logger.setLevel(level)
