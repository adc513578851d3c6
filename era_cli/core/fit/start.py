"""From a request to a Fit that is ready to train: data loaded, machine checked, run folder created."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Sequence
from importlib.metadata import version

import torch

import era_cli
from era_cli.core.data import run_data
from era_cli.core.fit import continuity, resumable
from era_cli.core.fit.fit import Fit
from era_cli.core.fit.request import FitRequest, check_resume, finished
from era_cli.core.fit.stopwatch import Stopwatch
from era_cli.core.lr_find import sweep as lr_range
from era_cli.core.training import devices
from era_cli.core.training.group import NOBODY_ELSE, Group
from era_cli.core.training.schedules import FEWEST_STEPS
from era_cli.core.training.setup import Setup
from era_cli.errors import EraError, UsageError
from era_cli.listener import Listener
from era_cli.place import ALONE, Place
from era_cli.results import LrSuggestion, LrSweep
from era_cli.runs import store
from era_cli.runs.document import (
    ClassCounts,
    DataRecord,
    DeviceRecord,
    Environment,
    RunDocument,
    SplitCounts,
    Versions,
)
from era_cli.runs.run import Run
from era_cli.text import plural

SETTLING_STEPS = 40  # after which 0.9 ** 40, 1.5 %, of batch-norm's first averages is left


def prepare(request: FitRequest, listener: Listener, group: Group = NOBODY_ELSE) -> Fit:
    """Loads and splits the data, checks the machine, finds the peak learning rate if asked, and creates the run folder.

    Raises:
        EraError: anything is wrong; no folder was created then.
    """
    store.check_name(request.runs_dir, request.name, overwrite=request.overwrite)
    setup = Setup.of(request, listener, group)
    _require_steps(setup)
    if not request.find_lr:
        return make_fit(setup, request)
    watch = Stopwatch()
    watch.start()
    sweep, chosen = _found_rate(setup, listener)
    setup = dataclasses.replace(setup, recipe=dataclasses.replace(setup.recipe, max_lr=chosen.lr))
    return make_fit(setup, request, sweep, watch.seconds)


def make_fit(setup: Setup, request: FitRequest, sweep: LrSweep | None = None, seconds: float = 0.0) -> Fit:
    """A new run folder for `setup`, ready to train; `sweep` is what its peak learning rate was found by, if it was.

    Args:
        seconds: what the sweep took; the run's wall time starts there.

    Raises:
        EraError: the folder cannot be written.
    """
    now = environment(setup.device, request.command, setup.group.place, sync_batchnorm=setup.sync_batchnorm)
    run = store.create(
        request.runs_dir,
        request.name,
        setup.dataset.name,
        lambda name: RunDocument(
            name=name,
            status="running",
            started=store.now(),
            ended=None,
            seconds=seconds,
            recipe=setup.recipe,
            lr_find=None if sweep is None else sweep.summary,
            seed=setup.recipe.seed,
            data=_data_record(setup, request),
            sessions=(),
            result=None,
            error=None,
            **vars(now),
        ),
        overwrite=request.overwrite,
    )
    return Fit(
        run=run,
        setup=setup,
        environment=now,
        sweep=sweep,
        notes=(*setup.notes, *_unused_gpus(request, setup)),
        warnings=(*setup.warnings, *_doubts(setup)),
    )


def _unused_gpus(request: FitRequest, setup: Setup) -> tuple[str, ...]:
    more = devices.count_gpus() - 1
    if request.gpus != "auto" or not setup.group.is_alone or more < 1:
        return ()
    return (
        f"This machine has {plural(more, 'more GPU')} that this run does not use: --gpus all trains on all of them.",
    )


def _data_record(setup: Setup, request: FitRequest) -> DataRecord:
    dataset, splits = setup.dataset, setup.splits
    return DataRecord(
        source=dataset.source,
        data_dir=None if request.data_dir is None else str(request.data_dir.resolve()),
        content_hash=dataset.content_hash,
        image_size=dataset.image_size,
        classes=dataset.classes,
        counts=SplitCounts(**{name: len(indices) for name, indices in splits.items()}),
        class_counts=ClassCounts(
            **{name: tuple(dataset.class_counts(indices).tolist()) for name, indices in splits.items()}
        ),
        mean=setup.normalization.mean,
        std=setup.normalization.std,
        skipped=dataset.skipped,
    )


def resume(run: Run, request: FitRequest, listener: Listener, group: Group = NOBODY_ELSE) -> Fit:
    """The Fit that resumes `run` from its newest valid checkpoint.

    Every option given must be as it is in the run, except for the location of the same data and the device.

    Raises:
        UsageError: an option differs from the run's.
        EraError: the run is finished or in use, its data changed, or no checkpoint is valid.
    """
    document = run.read()
    precision = document.device.precision
    check_resume(run, request)
    if document.status == "finished":
        raise EraError(finished(run, document))
    with run.lock():
        newest = resumable.newest(run, document)
    try:
        device = devices.choose(request.gpus, precision, group.place)
    except UsageError as error:
        raise UsageError(f"{run.path}, trained in {precision}, cannot be resumed here: {error}") from error
    threads = continuity.take_threads(newest.environment.device, device)
    now = environment(device, request.command, group.place, sync_batchnorm=document.device.sync_batchnorm)
    data = run_data.load(
        run, document, source=request.source, data_dir=request.data_dir, strict=request.strict, listener=listener
    )
    setup = Setup.of_run(document, data, device, group)
    return Fit(
        run=run,
        setup=setup,
        environment=now,
        resume_from=newest,
        notes=(*setup.notes, *filter(None, (threads, continuity.warning(newest.environment, now))), *newest.notes),
        warnings=setup.warnings,
    )


def _found_rate(setup: Setup, listener: Listener) -> tuple[LrSweep, LrSuggestion]:
    if not setup.group.is_alone:
        listener.note("The range test runs in the first process, on whole batches; the others wait for it.")
    sweep = lr_range.sweep(dataclasses.replace(setup, group=NOBODY_ELSE), listener)
    if sweep.recommended is None:
        raise EraError(f"--max-lr auto found no learning rate ({sweep.verdict}): give --max-lr a number")
    listener.note(f"--max-lr auto chose {sweep.recommended.lr:g}: {sweep.reason}.")
    return sweep, sweep.recommended


def _require_steps(setup: Setup) -> None:
    steps = setup.total_steps
    if steps < FEWEST_STEPS:
        raise UsageError(
            f"{plural(steps, 'step')} in total cannot make a one-cycle schedule, which needs at least {FEWEST_STEPS}:"
            " use more --epochs or a smaller --batch-size"
        )


def _doubts(setup: Setup) -> list[str]:
    """What makes the results of this run doubtful."""
    doubts = []
    if (steps := setup.total_steps) < SETTLING_STEPS:
        doubts.append(
            f"With only {plural(steps, 'step')} in total, batch norm's running averages do not settle, and validation"
            " accuracy may look random: use more --epochs or a smaller --batch-size."
        )
    dataset, val = setup.dataset, setup.val_indices
    missing = [name for label, name in enumerate(dataset.classes) if label not in dataset.labels[val]]
    if len(val) and missing:
        doubts.append(f"Class {missing[0]!r} has no validation image, so the best epoch is chosen without it.")
    return doubts


def environment(
    device: devices.Device, command: Sequence[str], place: Place = ALONE, *, sync_batchnorm: bool = False
) -> Environment:
    """What runs here and now: device, versions, git commit of the working directory, and command line."""
    return Environment(
        device=DeviceRecord(
            **device.as_dict(), processes=place.processes, nodes=place.nodes, sync_batchnorm=sync_batchnorm
        ),
        versions=Versions(era=era_cli.__version__, torch=str(torch.__version__), lightning=version("lightning")),
        git_commit=_git_commit(),
        command=tuple(command),
    )


def _git_commit() -> str | None:
    """The commit of the working directory's repository, if it is in one."""
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()
