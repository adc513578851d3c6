"""Two states are compared bit for bit, and the first difference is named."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from era_cli.core.verify.compare import difference


def state(**changes: Any) -> dict[str, Any]:
    return {
        "weights": {"a": torch.tensor([3.0, 4.0]), "b": torch.zeros(2, 3, 2, 2).to(memory_format=torch.channels_last)},
        "optimizer": [{"lr": 0.5, "state": {0: torch.tensor(7)}}],
        **changes,
    }


def test_equal_states_do_not_differ() -> None:
    assert difference(state(), state()) is None
    nan = torch.tensor([math.nan, 1.0])
    assert difference({"a": nan}, {"a": nan.clone()}) is None


def test_the_first_difference_is_named_and_measured() -> None:
    found = difference(state(), state(weights={"a": torch.tensor([3.0, 4.5]), "b": torch.ones(2, 3, 2, 2)}))
    assert found is not None
    assert found.first == "weights.a: 1 of 2 numbers differs, by up to 0.5"
    # 0.5 and 24 ones, over the norm of 3, 4 and the rate of 0.5.
    assert found.relative == pytest.approx(math.sqrt((0.25 + 24) / (25 + 0.25)))


@pytest.mark.parametrize(
    ("other", "first"),
    [
        (state(weights={"a": torch.tensor([3.0, 4.0])}), "weights.b is missing from the computed state"),
        (state(more=1), "more is missing from the recorded state"),
        (state(optimizer=[{"lr": 0.5, "state": {0: torch.tensor(8)}}]), "optimizer.0.state.0: 1 of 1 number differs"),
        (state(optimizer=[{"lr": "0.5", "state": {0: torch.tensor(7)}}]), "optimizer.0.lr: 0.5 recorded, '0.5' comp"),
        (state(weights={"a": torch.zeros(3), "b": 1}), "weights.a: 2 float32 recorded, 3 float32 computed"),
        (state(weights={"a": torch.zeros(2).double(), "b": 1}), "weights.a: 2 float32 recorded, 2 float64 computed"),
    ],
)
def test_rounding_explains_no_other_count_shape_or_type(other: dict[str, Any], first: str) -> None:
    found = difference(state(), other)
    assert found is not None
    assert found.first.startswith(first)
    assert found.relative == math.inf


def test_a_zero_of_another_sign_differs_in_a_bit() -> None:
    found = difference({"a": torch.tensor([0.0, 1.0])}, {"a": torch.tensor([-0.0, 1.0])})
    assert found is not None
    assert 0 < found.relative < 1e-300
