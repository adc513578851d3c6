"""The best epoch's state validated again, as training validated it."""

from __future__ import annotations

import contextlib

import torch

from era_cli.core.networks import weights
from era_cli.core.training.module import Classifier
from era_cli.core.training.schedules import OneCycle
from era_cli.core.training.setup import Setup
from era_cli.core.verify.checks import check_validation
from era_cli.core.verify.recorded import Recorded
from era_cli.core.verify.rounding import Rounding
from era_cli.listener import Listener
from era_cli.results import Check
from era_cli.runs import artifacts
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def check_best(
    run: Run, document: RunDocument, setup: Setup, recorded: Recorded, rounding: Rounding, listener: Listener
) -> Check | None:
    """The validation of `best.ckpt` against its row of metrics.csv; None where there is none to compare."""
    step = recorded.step_of(artifacts.BEST)
    row = next((row for row in recorded.epochs if row.epoch * setup.steps_per_epoch == step), None)
    if row is None or row.val_loss is None:
        return None
    loss, correct = _validated(run, document, setup, listener)
    return check_validation(row, loss, correct, len(setup.val_indices), rounding)


def _validated(run: Run, document: RunDocument, setup: Setup, listener: Listener) -> tuple[float, int]:
    """The mean validation loss of `best.ckpt`, and how many images it classifies correctly."""
    network = weights.load(document, run.checkpoints / artifacts.BEST).network
    module = Classifier(
        network,
        setup.recipe,
        setup.augmentation,
        setup.normalization,
        OneCycle(setup.recipe, setup.total_steps),
        setup.steps_per_epoch,
        listener.note,
    )
    device, dtype = setup.device.torch_device, _AUTOCAST.get(setup.device.precision)
    module.to(device).eval()
    module.on_validation_epoch_start()
    count = len(setup.val_indices)
    autocast = contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
    with listener.work("validating the best epoch", count) as advance, torch.inference_mode(), autocast:
        for number, (images, labels) in enumerate(setup.data_module().val_dataloader()):
            module.validation_step((images.to(device), labels.to(device)), number)
            advance(len(labels))
    return float(module.val_loss_sum) / count, int(module.val_correct)
