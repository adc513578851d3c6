"""What every process but the first does: train what the first one says, silently, until it says that all is done."""

from __future__ import annotations

import signal
from pathlib import Path

import torch

from era_cli.core.data import run_data
from era_cli.core.fit import start
from era_cli.core.fit.job import DONE, Job
from era_cli.core.fit.request import FitRequest
from era_cli.core.fit.rows import Rows
from era_cli.core.fit.run_writer import AtomicCheckpointIO, RunWriter
from era_cli.core.training import devices, trainer
from era_cli.core.training.group import Group
from era_cli.core.training.schedules import OneCycle
from era_cli.core.training.setup import Setup
from era_cli.errors import Interrupted, ProcessLost
from era_cli.listener import Listener
from era_cli.runs import document
from era_cli.runs.run import Run


def follow(group: Group, request: FitRequest) -> None:
    """Takes part in every training that the first process begins; `request` says where this machine's data are.

    Raises:
        ProcessLost: another process is gone.
        EraError: this machine has no such data or device, or its memory ran out; the first process was told.
        Interrupted: a signal came to any of the processes, and the first one saved.
    """
    try:
        while (text := group.listen()) != DONE:
            _train(Job.of(text), group, request)
    except Interrupted as error:
        group.excuse(f"stopped by {signal.Signals(error.signum).name}")
        group.leave_after_first()
        raise
    except ProcessLost:
        group.leave_after_first()
        raise
    except Exception as error:
        group.excuse(str(error))
        raise
    group.leave()


def _train(job: Job, group: Group, request: FitRequest) -> None:
    described = document.of_dict(job.document)
    run = Run(Path(job.run))  # of another machine, perhaps: it is not looked into
    torch.set_num_threads(job.threads)
    gpus = "0" if described.device.accelerator == "cpu" else request.gpus
    device = devices.choose(gpus, described.device.precision, group.place)
    data = run_data.load(
        run,
        described,
        source=request.source,
        data_dir=request.data_dir,
        strict=request.strict,
        listener=Listener(),
    )
    setup = Setup.of_run(described, data, device, group)
    writer = RunWriter(
        None,
        Listener(),
        setup.steps_per_epoch,
        setup.recipe.batch_size,
        environment=start.environment(device, request.command, group.place),
        rows=Rows(),
        group=group,
    )
    trainer.run(
        setup,
        setup.classifier(OneCycle(setup.recipe, setup.total_steps), _nobody_hears),
        callbacks=[writer],
        plugins=[AtomicCheckpointIO(group)],
        epochs=setup.recipe.epochs,
        resume_from=None if job.resume_from is None else Path(job.resume_from),
    )


def _nobody_hears(note: str) -> None:
    pass
