"""The steps of the epoch in progress, kept on the device so that no step waits for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from era_cli.core.training.group import Group
from era_cli.results import StepRow


class EpochRecord:
    """Loss, correct answers and learning rate of each step of one epoch of `steps` steps."""

    def __init__(self, steps: int, batch_size: int, device: torch.device) -> None:
        self._losses = torch.zeros(steps, device=device)
        self._correct = torch.zeros(steps, dtype=torch.int64, device=device)
        self._rates: list[float] = []
        self._batch_size = batch_size
        self._gathered = 0

    def __len__(self) -> int:
        return len(self._rates)

    @property
    def full(self) -> bool:
        """Whether every step of the epoch is in."""
        return self.remaining == 0

    @property
    def remaining(self) -> int:
        """How many steps of the epoch are still to come."""
        return len(self._losses) - len(self)

    def add(self, loss: Tensor, correct: Tensor, rate: float) -> None:
        """Adds one step; the tensors hold one number each and may still be on their way."""
        self._losses[len(self)] = loss.detach()
        self._correct[len(self)] = correct
        self._rates.append(rate)

    def gather(self, group: Group) -> None:
        """Makes the steps since the last call those of all processes: the mean loss, and the sum of correct answers."""
        if not group.is_alone:
            losses, correct = self._losses[self._gathered : len(self)], self._correct[self._gathered : len(self)]
            group.add_up(losses, correct)
            losses /= group.place.processes
        self._gathered = len(self)

    def rows(self, first_step: int, start: int = 0) -> list[StepRow]:
        """The rows of steps.csv from the `start`-th of this epoch on; its first step has number `first_step`."""
        losses = self._losses[start : len(self)].tolist()
        return [
            StepRow(step=first_step + start + offset, lr=self._rates[start + offset], loss=loss)
            for offset, loss in enumerate(losses)
        ]

    def first_not_finite(self) -> int | None:
        """The place, from 0, of the first step whose loss is NaN or infinite."""
        bad = (~self._losses[: len(self)].isfinite()).nonzero()
        return int(bad[0]) if len(bad) else None

    @property
    def loss(self) -> float:
        """Mean loss over the steps, which all have batches of one size; added up in float64."""
        return float(self._losses[: len(self)].cpu().double().mean())

    @property
    def accuracy(self) -> float:
        """Share of images classified rightly, 0..1."""
        return int(self._correct[: len(self)].sum()) / (len(self) * self._batch_size)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to resume within the epoch."""
        done = len(self)
        return {
            "losses": self._losses[:done].cpu(),
            "correct": self._correct[:done].cpu(),
            "rates": list(self._rates),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the steps that `state_dict` held."""
        self._rates = list(state["rates"])
        self._gathered = len(self)
        self._losses[: len(self)] = state["losses"].to(self._losses.device)
        self._correct[: len(self)] = state["correct"].to(self._correct.device)
