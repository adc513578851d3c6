"""What every command that reads a trained run does first, and says about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from era_cli.choices import Split, Tta
from era_cli.commands.deliver import Fact, File
from era_cli.errors import UsageError
from era_cli.signals import held
from era_cli.text import plural

if TYPE_CHECKING:
    from era_cli.core.evaluation.predictions import Predictions
    from era_cli.core.evaluation.trained_run import Subset, TrainedRun
    from era_cli.listener import Listener
    from era_cli.runs.run import Run


def find(
    runs_dir: Path,
    name: str,
    checkpoint: str | None,
    split: Split | None = None,
    data: str | None = None,
    *,
    own_images: bool = False,
) -> Run:
    """The run to read, with everything refused that can be seen to be wrong before torch is loaded.

    Args:
        own_images: the run's own data are not read.

    Raises:
        UsageError: both `split` and `data` name images.
        EraError: there is no such run or checkpoint; its data, or the other data, are absent or of other classes.
    """
    if data is not None and split is not None:
        raise UsageError("--split names a split of the run's own data: leave it out with --data")
    with held():
        from era_cli.core.data import run_data, sources
        from era_cli.runs import store

    run = store.find(runs_dir, name)
    run.checkpoint_file(checkpoint)
    document = run.read()
    if own_images:
        return run
    if data is not None:
        sources.check_all(data, document.data.classes)
    else:
        run_data.check_source(run, document)
        run_data.check_split(run, document, split or Split.TEST)
    return run


def open_run(run: Run, checkpoint: str | None, gpus: str) -> TrainedRun:
    """The run, to be evaluated on the device that was asked for.

    Raises:
        EraError: there is no such checkpoint or device.
    """
    from era_cli.core.evaluation.trained_run import TrainedRun
    from era_cli.core.training import devices

    return TrainedRun.open(run, checkpoint, devices.choose(gpus, "fp32").torch_device)


def subset(
    opened: TrainedRun, split: Split | None, data: str | None, data_dir: Path | None, listener: Listener
) -> Subset:
    """The images that were asked for: those of `split`, of other data, or the test images.

    Raises:
        EraError: they are absent or of other classes.
    """
    if data is not None:
        return opened.other_subset(data, data_dir, listener)
    return opened.subset(split or Split.TEST, data_dir, listener)


def check_enough(count: int, asked: int, listener: Listener) -> None:
    """Notes that there are fewer than `asked` images to draw."""
    if not count:
        listener.note("There are no such images, so the figure is empty.")
    elif count < asked:
        listener.note(
            f"There {'is' if count == 1 else 'are'} {plural(count, 'image')} to draw, fewer than --n {asked}."
        )


def about(opened: TrainedRun, images: str, tta: Tta = Tta.NONE) -> str:
    """A figure's title: the run, its `images`, and the checkpoint and augmentation unless they are the default."""
    parts = [opened.run.name, images]
    if opened.checkpoint_name != "best":
        parts.append(f"checkpoint {opened.checkpoint_name.removeprefix('file-')}")
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
    return {"run": str(opened.run.path), "checkpoint": str(opened.checkpoint), "epochs": _epochs(opened, step)}


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
    epochs = _epochs(opened, step)
    after = "" if epochs is None else f", after {epochs:.4g} epoch{'s' * (epochs != 1)}"
    return [("run", str(opened.run.path)), ("checkpoint", opened.checkpoint_name + after)]


def _epochs(opened: TrainedRun, step: int | None) -> float | None:
    if step is None:
        return None
    whole, rest = divmod(step, opened.document.steps_per_epoch)
    return whole + rest / opened.document.steps_per_epoch if rest else whole
