"""Training: a Fit fills its run folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from era_cli.choices import Tta
from era_cli.core.data.batches import alternating, epoch_order, mirror
from era_cli.core.evaluation import predictions
from era_cli.core.evaluation.trained_run import Subset, TrainedRun
from era_cli.core.fit import training_state
from era_cli.core.fit.job import Job
from era_cli.core.fit.resumable import Resumable
from era_cli.core.fit.rows import Rows
from era_cli.core.fit.run_writer import AtomicCheckpointIO, RunWriter
from era_cli.core.fit.stopwatch import Stopwatch
from era_cli.core.networks import checkpoint, networks
from era_cli.core.networks.summary import layer_rows
from era_cli.core.seeds import Stream, generator
from era_cli.core.training import sizes, trainer
from era_cli.core.training.schedules import OneCycle
from era_cli.core.training.setup import Setup
from era_cli.errors import EraError, Interrupted, ProcessLost
from era_cli.files import ORPHAN_AGE, atomic_link, sweep_temporaries
from era_cli.listener import Listener
from era_cli.results import EpochRow, FitPlan, FitResult, LrSweep, Samples
from era_cli.runs import artifacts, best_epoch, history, replacement, store
from era_cli.runs.document import Environment, Session, Status
from era_cli.runs.run import Run
from era_cli.signals import held

SAMPLES = 40  # images in the figure of what the network sees


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A run ready to train: `start.prepare` and `start.resume` make it, `train` runs it.

    `environment` is what run.json says of this session: device, versions, git commit and command.
    """

    run: Run
    setup: Setup
    environment: Environment
    resume_from: Resumable | None = None
    sweep: LrSweep | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def plan(self) -> FitPlan:
        """What is about to happen, for the person to read."""
        setup, dataset = self.setup, self.setup.dataset
        network = networks.build(setup.recipe, len(dataset.classes))
        blocks, leaves = layer_rows(network, dataset.image_size)
        return FitPlan(
            run=self.run.replaces or self.run.path,
            recipe=setup.recipe,
            source=dataset.source,
            classes=dataset.classes,
            class_counts={name: dataset.class_counts(indices) for name, indices in setup.splits.items()},
            test_total=len(dataset.test),
            image_size=dataset.image_size,
            layers=blocks,
            leaf_layers=leaves,
            device=setup.device.name,
            precision=setup.device.precision,
            steps_per_epoch=setup.steps_per_epoch,
            steps_done=self._steps_done,
            rows_done=() if self.resume_from is None else tuple(self.resume_from.rows.epochs),
            samples=self._samples(),
            sweep=self.sweep,
            notes=self.notes,
            warnings=self.warnings,
            processes=setup.group.place.processes,
            nodes=setup.group.place.nodes,
            threads=torch.get_num_threads(),
        )

    def train(
        self, listener: Listener, *, after_first_step: Callable[[FitPlan], None] = lambda plan: None
    ) -> FitResult:
        """Trains to the last epoch, tests the best one on the test split, and writes everything to the run.

        A run that replaces another takes its place after the first step; one that fails before is discarded.

        Args:
            after_first_step: called with the plan once training is seen to work; what it raises fails the run.

        Raises:
            EraError: training diverged, memory or disk ran out, or another process trains or trained this run.
            Interrupted: a signal came; the run is saved and can be resumed.
        """
        with self.run.lock():
            self._refuse_if_moved_on()
            sweep_temporaries(self.run.checkpoints)
            sweep_temporaries(self.run.path, age=ORPHAN_AGE)  # a reading command may be writing there
            if self.resume_from is not None and self.resume_from.path.name != artifacts.LAST:
                # Else the next save would keep the damaged state as the one before it.
                atomic_link(self.resume_from.path, self.run.checkpoints / artifacts.LAST)
            document = self.run.read()
            watch = Stopwatch(document.seconds)
            watch.start()
            environment = vars(self.environment)
            self.run.update(
                status="running",
                ended=None,
                error=None,
                # A folder may have been moved.
                data=dataclasses.replace(document.data, source=self.setup.dataset.source),
                sessions=(*document.sessions, Session(started=store.now(), **environment)),
                **environment,
            )
            status: Status = "failed"
            outcome: dict[str, Any] = {}
            try:
                plan = self.plan()
                listener.planned(plan)
                rows = self._train_network(listener, lambda: after_first_step(plan))
                result = self._test(rows, listener, watch)
                status, outcome = "finished", {"result": result}
                return result
            except (Interrupted, KeyboardInterrupt, ProcessLost):
                status = "interrupted"
                raise
            except Exception as error:
                outcome = {"error": str(error)}
                raise
            finally:
                if self.run.replaces is None:
                    # A disk that refuses run.json, too, must not hide what stopped the training.
                    with held(), contextlib.nullcontext() if status == "finished" else contextlib.suppress(EraError):
                        self.run.update(status=status, ended=store.now(), seconds=watch.seconds, **outcome)
                else:
                    replacement.discard(self.run)

    def _train_network(self, listener: Listener, after_first_step: Callable[[], None]) -> Rows:
        rows, best = Rows(), None
        if self.resume_from is not None:
            rows = self.resume_from.rows
            self._restore_files(rows, listener)
            best = self._restore_best(rows, listener)
        setup = self.setup
        writer = RunWriter(
            self.run,
            listener,
            setup.steps_per_epoch,
            setup.recipe.batch_size,
            after_first_step,
            environment=self.environment,
            rows=rows,
            best=best,
            group=setup.group,
        )
        self._tell_others()
        trainer.run(
            setup,
            setup.classifier(OneCycle(setup.recipe, setup.total_steps), listener.note),
            callbacks=[writer],
            plugins=[AtomicCheckpointIO(setup.group)],
            epochs=setup.recipe.epochs,
            resume_from=None if self.resume_from is None else self.resume_from.path,
        )
        return rows

    def _tell_others(self) -> None:
        """Says to the other processes what is trained now; they have waited for it."""
        resume_from = None if self.resume_from is None else str(self.resume_from.path)
        job = Job(str(self.run.path), self.run.read().as_dict(), resume_from, torch.get_num_threads())
        self.setup.group.tell(job.text())

    @property
    def _steps_done(self) -> int:
        return 0 if self.resume_from is None else self.resume_from.step

    def _restore_files(self, rows: Rows, listener: Listener) -> None:
        """Makes metrics.csv and steps.csv what they were at the checkpoint; rows past it will be written again."""
        for path, own in ((self.run.metrics_file, rows.epochs), (self.run.steps_file, rows.steps)):
            if not history.restore(path, own):
                listener.note(f"{path} was damaged or changed; its rows were restored.")

    def _restore_best(self, rows: Rows, listener: Listener) -> EpochRow | None:
        """The best epoch whose state is kept, which becomes `best`; None if none is.

        A crash between two files, a damaged state or an older version of era may have left another there. A note says
        so where a better epoch, which the curves still mark, cannot be had.
        """
        steps = self.setup.steps_per_epoch
        done = rows.epochs
        highest = best_epoch.best(done) if done else None
        kept: dict[int, Path] = {}  # by step
        for name in (artifacts.BEST, artifacts.LAST, artifacts.PREVIOUS):
            path = self.run.checkpoints / name
            if (step := self._step_of(path)) is not None:
                kept.setdefault(step, path)
            if highest is not None and highest.epoch * steps in kept:
                break
        candidates = [row for row in done if row.epoch * steps in kept]
        best = best_epoch.best(candidates) if candidates else None
        if highest is not None and highest != best:
            now = f"holds epoch {best.epoch} until a better one comes" if best else "will hold the best of later epochs"
            listener.note(
                f"The checkpoint of epoch {highest.epoch}, the best so far, is damaged or was not kept by an older "
                f"version of era: {artifacts.BEST} {now}."
            )
        self._record_lost(done, best)
        if best is None:
            return None
        if (path := kept[best.epoch * steps]).name != artifacts.BEST:
            atomic_link(path, self.run.checkpoints / artifacts.BEST)
        return best

    def _record_lost(self, done: list[EpochRow], kept: EpochRow | None) -> None:
        """Writes to run.json which epochs were better than the `kept` one: none of them will be the best of the run."""
        lost = {row.epoch for row in done}
        if kept is not None:
            lost = {row.epoch for row in done if best_epoch.best(each for each in done if each in (row, kept)) != kept}
        known = set(self.run.read().lost_epochs)
        if not lost <= known:
            self.run.update(lost_epochs=tuple(sorted(known | lost)))

    def _step_of(self, path: Path) -> int | None:
        """After how many steps the state at `path` was taken; None if it is absent, damaged or not this run's."""
        resumed = self.resume_from
        try:
            if resumed is not None and path.samefile(resumed.path):
                return resumed.step
            return self._checked_step(path)
        except (EraError, OSError):
            return None

    def _checked_step(self, path: Path) -> int:
        state = checkpoint.read(path)
        training_state.check(state, self.run.read(), path)
        return int(state["global_step"])

    def _refuse_if_moved_on(self) -> None:
        """Another era process may have trained this run while this one loaded its data."""
        if self.resume_from is None:
            return
        if self.run.read().status == "finished" or not self.resume_from.is_newest():
            raise EraError(f"{self.run.path} was trained by another era process in the meantime: retry")

    def _test(self, rows: Rows, listener: Listener, watch: Stopwatch) -> FitResult:
        path = self.run.checkpoints / artifacts.BEST
        try:
            step = self._checked_step(path)
        except EraError as error:  # another in its place would be another result
            raise EraError(f"{error}; {self.run.resume_command} tests the best epoch that is left") from error
        best = rows.epochs[step // self.setup.steps_per_epoch - 1]
        self._record_lost(rows.epochs, best)
        trained = TrainedRun(self.run, path, self.setup.device.torch_device)
        subset = Subset.of_test(self.setup.dataset, self.setup.test_indices)
        evaluation = predictions.compute(trained, subset, Tta.NONE, listener, what="testing the best epoch").evaluation
        return FitResult(
            best_epoch=best.epoch,
            val_acc=best.val_acc,
            val_loss=best.val_loss,
            test_acc=evaluation.accuracy,
            test_loss=evaluation.loss,
            test_correct=evaluation.correct,
            test_count=len(evaluation.labels),
            test_total=len(self.setup.dataset.test),
            seconds=watch.seconds,
        )

    def _samples(self) -> Samples:
        """The first images of the first batch, as the first step sees them."""
        order = epoch_order(torch.from_numpy(self.setup.train_indices), self.setup.recipe.seed, 0)[
            : self.setup.recipe.batch_size
        ]
        images = torch.from_numpy(self.setup.dataset.images[order.numpy()])
        if fraction := self.setup.alternating_flip:
            mirrored = alternating(len(self.setup.dataset.images), fraction, self.setup.recipe.seed, epoch=0)
            images = mirror(images, mirrored[order])
        augmented = self.setup.augmentation(images, generator(self.setup.recipe.seed, Stream.AUGMENTATION, 0))[:SAMPLES]
        size = sizes.at(self.setup.recipe, self.setup.dataset.image_size, 0, self.setup.total_steps)
        augmented = sizes.resized(augmented, size)
        return Samples(
            images=augmented.permute(0, 2, 3, 1).numpy(),
            labels=self.setup.dataset.labels[order.numpy()][:SAMPLES],
            classes=self.setup.dataset.classes,
            augmentation=str(self.setup.augmentation),
        )
