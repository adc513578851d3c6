"""What every command that reads a trained run does first, and says about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from era_cli.choices import Split, Tta
from era_cli.commands import next_step, options, signatures
from era_cli.commands.deliver import Fact, File
from era_cli.commands.signatures import Command
from era_cli.errors import UsageError
from era_cli.signals import ending
from era_cli.text import plural

if TYPE_CHECKING:
    from era_cli.core.evaluation.predictions import Predictions
    from era_cli.core.evaluation.trained_run import Subset, TrainedRun
    from era_cli.listener import Listener
    from era_cli.runs.document import RunDocument
    from era_cli.runs.run import Run


@dataclass(frozen=True)
class SelectedRun:
    """A run with what run.json holds, and the checkpoint to read."""

    run: Run
    document: RunDocument
    checkpoint: Path


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options that say what to read: a run and its checkpoint, which images, and where all of these are."""

    run: options.RunName = "latest"
    checkpoint: options.Checkpoint = None
    split: options.SplitOption = None
    data: options.OtherData = None
    data_dir: options.DataDir = None
    gpus: options.Gpus = "auto"
    runs_dir: options.RunsDir = Path("runs")

    def find(self, *, own_images: bool = False) -> SelectedRun:
        """The run to read, as `select` selects it.

        Raises:
            EraError: there is no such run, or as for `select`.
        """
        with ending():
            from era_cli.runs import store

        return self.select(store.find(self.runs_dir, self.run), own_images=own_images)

    def select(self, run: Run, *, own_images: bool = False) -> SelectedRun:
        """The `run` to read, with everything refused that can be seen to be wrong before torch is loaded.

        Args:
            own_images: the run's own data are not read.

        Raises:
            UsageError: both `split` and `data` name images.
            EraError: there is no such checkpoint; the run's data, or the other data, are absent or of other classes.
        """
        if self.data is not None and self.split is not None:
            raise UsageError("--split names a split of the run's own data: leave it out with --data")
        with ending():
            from era_cli.core.data import run_data, sources

        document = run.read()
        selected = SelectedRun(run, document, run.checkpoint_file(self.checkpoint, document))
        if own_images:
            return selected
        if self.data is not None:
            sources.check_all(self.data, document.data.classes)
        else:
            run_data.check(run, document, data_dir=self.data_dir)
            run_data.check_split(run, document, self.split or Split.TEST)
        return selected

    def open(self, selected: SelectedRun) -> TrainedRun:
        """The run, to be evaluated on the device that was asked for.

        Raises:
            EraError: there is no such device.
        """
        from era_cli.core.evaluation.trained_run import TrainedRun
        from era_cli.core.training import devices

        device = devices.choose(self.gpus, "fp32").torch_device
        return TrainedRun(selected.run, selected.checkpoint, device)

    def subset(self, opened: TrainedRun, listener: Listener) -> Subset:
        """The images that were asked for: those of the split, of other data, or the test images.

        Raises:
            EraError: they are absent or of other classes.
        """
        if self.data is not None:
            return opened.other_subset(self.data, self.data_dir, listener)
        return opened.subset(self.split or Split.TEST, self.data_dir, listener)

    def next(self, command: str, **more: Any) -> str:
        """The line of another command, with `more` options, on the same run and images."""
        return next_step.line(command, **more, **vars(self))


def takes_request(command: Command) -> Command:
    """Gives a command the options of a Request, in place of its parameter `request`."""
    return signatures.grouped(command, "request", signatures.parameters(Request), Request)


def check_enough(count: int, asked: int, listener: Listener) -> None:
    """Notes that there are fewer than `asked` images to draw."""
    if not count:
        listener.note("There are no such images, so the figure is empty.")
    elif count < asked:
        listener.note(f"There {'is' if count == 1 else 'are'} only {plural(count, 'image')} to draw (--n is {asked}).")


def about(opened: TrainedRun, images: str, tta: Tta = Tta.NONE) -> str:
    """A figure's title: the run, its `images`, and the checkpoint and augmentation unless they are the default.

    Of a run that is not finished, also after how many epochs.
    """
    parts = [opened.run.name, images]
    if opened.checkpoint_name != "best":
        parts.append(f"checkpoint {opened.checkpoint_name.removeprefix('file-')}")
    if (
        opened.document.status != "finished"
        and (epochs := opened.document.epochs_after(opened.weights.step)) is not None
    ):
        parts.append(f"after {epochs:.4g} epoch{'s' * (epochs != 1)}")
    if tta is not Tta.NONE:
        parts.append(f"test-time augmentation {tta}")
    return ", ".join(parts)


def kept(predictions: Predictions) -> list[File]:
    """The file of the predictions, if they could be kept."""
    return [File(predictions.file)] if predictions.file.exists() else []


def document(opened: TrainedRun, subset: Subset, predictions: Predictions) -> dict[str, Any]:
    """The head of a JSON document: what was evaluated, and what the predictions were computed from."""
    from era_cli import documents

    return {
        **run_document(opened, predictions.step),
        "data": {"source": subset.dataset.source, "split": subset.name, "skipped": list(subset.dataset.skipped)},
        "computed_from": documents.fingerprint(predictions.fingerprint),
    }


def run_document(opened: TrainedRun, step: int | None) -> dict[str, Any]:
    """The head of a JSON document on a run alone, whose checkpoint was taken after `step` steps."""
    return {
        "run": str(opened.run.path),
        "checkpoint": str(opened.checkpoint),
        "epochs": opened.document.epochs_after(step),
    }


def facts(opened: TrainedRun, subset: Subset, predictions: Predictions, tta: Tta = Tta.NONE) -> list[Fact]:
    """The same as `document` for people."""
    images = len(subset.indices)
    augmented = "" if tta is Tta.NONE else f", --tta {tta}"
    if predictions.seconds is None:
        computed = f"cached in {predictions.file.name}"
    else:
        computed = f"now, {images / predictions.seconds:,.0f} images/s"
    return [
        *run_facts(opened, predictions.step),
        ("data", f"{subset.dataset.source}: {subset.counted}{augmented}"),
        ("computed", computed),
    ]


def run_facts(opened: TrainedRun, step: int | None) -> list[Fact]:
    """The same as `run_document` for people."""
    epochs = opened.document.epochs_after(step)
    after = "" if epochs is None else f", after {epochs:.4g} epoch{'s' * (epochs != 1)}"
    return [("run", str(opened.run.path)), ("checkpoint", opened.checkpoint_name + after)]
