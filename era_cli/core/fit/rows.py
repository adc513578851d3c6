"""Every row of metrics.csv and steps.csv so far: each checkpoint holds them, so that it can rebuild both files.

In a checkpoint they are `callbacks["RunWriter"]["rows"]`, a dictionary of two float64 tensors, which keep every digit
of the files: `epochs` (E, 8) has the fields of EpochRow in their order, NaN for an empty cell; `steps` (S, 3) those of
StepRow. Checkpoints of earlier versions of era have none.
"""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from era_cli.results import EpochRow, StepRow

KEY = "rows"  # of the state of RunWriter

_EPOCH_FIELDS = dataclasses.fields(EpochRow)
_WIDTHS = {"epochs": len(_EPOCH_FIELDS), "steps": len(dataclasses.fields(StepRow))}


class Rows:
    """The rows of both files, to which those of new steps and epochs are added."""

    def __init__(self, epochs: Iterable[EpochRow] = (), steps: Iterable[StepRow] = ()) -> None:
        self.epochs = list(epochs)
        self._steps = array("d")  # flat: a million steps as objects would take 200 MB
        self.add_steps(steps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and (self.epochs, self._steps) == (other.epochs, other._steps)

    __hash__ = None  # type: ignore[assignment] # they change

    @property
    def steps(self) -> list[StepRow]:
        """The rows of steps.csv."""
        cells = iter(self._steps)
        return [StepRow(step=int(step), lr=lr, loss=loss) for step, lr, loss in zip(cells, cells, cells, strict=True)]

    @property
    def step_count(self) -> int:
        """How many rows of steps.csv there are."""
        return len(self._steps) // _WIDTHS["steps"]

    def add_steps(self, rows: Iterable[StepRow]) -> None:
        """Adds rows of steps.csv."""
        for row in rows:
            self._steps.extend(dataclasses.astuple(row))

    def state_dict(self) -> dict[str, Tensor]:
        """The two tensors of a checkpoint."""
        cells = [[math.nan if cell is None else cell for cell in dataclasses.astuple(row)] for row in self.epochs]
        return {
            "epochs": torch.tensor(cells, dtype=torch.float64).reshape(-1, _WIDTHS["epochs"]),
            "steps": torch.from_numpy(np.array(self._steps)).reshape(-1, _WIDTHS["steps"]),
        }

    @classmethod
    def of_state(cls, state: Any) -> Rows:
        """The rows that `state_dict` gave.

        Raises:
            ValueError: it gave something else.
        """
        if not isinstance(state, Mapping):
            raise ValueError("its rows are missing")
        for name, width in _WIDTHS.items():
            table = state.get(name)
            if (
                not isinstance(table, Tensor)
                or table.dtype != torch.float64
                or table.ndim != 2
                or table.shape[1] != width
            ):
                raise ValueError(f"its rows of {name} are not a table with {width} columns")
            if not bool(table[:, 0].abs().lt(2**53).all()):
                raise ValueError(f"its rows of {name} are not numbered consecutively")
        rows = cls([_epoch_row(cells) for cells in state["epochs"].tolist()])
        rows._steps = array("d", state["steps"].numpy().tobytes())
        return rows


def _epoch_row(cells: list[float]) -> EpochRow:
    values: dict[str, Any] = {}
    for spec, cell in zip(_EPOCH_FIELDS, cells, strict=True):
        if spec.type == "int":
            values[spec.name] = int(cell)
        else:
            values[spec.name] = None if math.isnan(cell) and spec.type == "float | None" else cell
    return EpochRow(**values)
