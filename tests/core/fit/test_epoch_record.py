from __future__ import annotations

import torch

from era_cli.core.fit.epoch_record import EpochRecord
from era_cli.results import StepRow

CPU = torch.device("cpu")


def filled(losses: list[float], correct: list[int], steps: int = 4) -> EpochRecord:
    record = EpochRecord(steps, 10, CPU)
    for number, (loss, right) in enumerate(zip(losses, correct, strict=True)):
        record.add(torch.tensor(loss), torch.tensor(right), 0.1 * (number + 1))
    return record


def test_loss_and_accuracy_are_means_over_steps() -> None:
    record = filled([1.0, 2.0, 6.0], [5, 0, 10])
    assert record.loss == 3.0
    assert record.accuracy == 0.5
    assert not record.full
    assert filled([1.0, 2.0], [0, 0], steps=2).full


def test_rows_number_the_steps_of_the_run() -> None:
    record = filled([1.0, 2.0, 6.0], [5, 0, 10])
    assert record.rows(first_step=11, start=1) == [
        StepRow(step=12, lr=0.2, loss=2.0),
        StepRow(step=13, lr=0.30000000000000004, loss=6.0),
    ]


def test_it_resumes_from_its_state() -> None:
    whole = filled([1.0, 2.0, 6.0], [5, 0, 10])
    resumed = EpochRecord(4, 10, CPU)
    resumed.load_state_dict(filled([1.0, 2.0], [5, 0]).state_dict())
    resumed.add(torch.tensor(6.0), torch.tensor(10), 0.1 * 3)
    assert resumed.rows(1) == whole.rows(1)
    assert (resumed.loss, resumed.accuracy) == (whole.loss, whole.accuracy)


def test_the_first_nan_loss_is_located() -> None:
    assert filled([1.0, float("nan"), float("inf")], [0, 0, 0]).first_not_finite() == 1
    assert filled([1.0, 2.0], [0, 0]).first_not_finite() is None
