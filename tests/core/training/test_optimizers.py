from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from era_cli.core.networks.resnet import CustomResNet
from era_cli.core.training import optimizers
from era_cli.errors import EraError
from era_cli.recipes import Recipe, default, session10, session12

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("recipe", "kind", "expected"),
    [
        (session12(), torch.optim.SGD, {"momentum": 0.9, "nesterov": False, "weight_decay": 5e-4}),
        (default(), torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
        (session10(), torch.optim.Adam, {"betas": (0.9, 0.999), "weight_decay": 1e-4}),
    ],
)
def test_the_optimizer_is_the_recipes(
    recipe: Recipe, kind: type[torch.optim.Optimizer], expected: dict[str, Any]
) -> None:
    optimizer = optimizers.build(recipe, CustomResNet(10), CPU)
    assert isinstance(optimizer, kind)
    weights, norm_and_bias = optimizer.param_groups
    assert {key: weights[key] for key in expected} == expected
    assert all(parameter.ndim > 1 for parameter in weights["params"])
    assert all(parameter.ndim == 1 for parameter in norm_and_bias["params"])
    assert norm_and_bias["weight_decay"] == (expected["weight_decay"] if recipe.decay_norm_and_bias else 0)
    assert len(weights["params"]) + len(norm_and_bias["params"]) == 8 * 3 + 2


def test_the_table_holds_what_recipes_can_name() -> None:
    (field,) = (field for field in dataclasses.fields(Recipe) if field.name == "optimizer")
    assert tuple(optimizers.OPTIMIZERS) == field.metadata["choices"]


def test_an_unknown_optimizer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(optimizers.OPTIMIZERS, "adam")
    with pytest.raises(EraError, match="no optimizer 'adam': --optimizer takes sgd"):
        optimizers.build(session10(), CustomResNet(2), CPU)


def test_without_momentum_sgd_is_plain() -> None:
    recipe = dataclasses.replace(default(), momentum=0.0)  # with Nesterov on, which torch refuses without momentum
    optimizer = optimizers.build(recipe, torch.nn.Linear(2, 2), CPU)
    assert (optimizer.defaults["momentum"], optimizer.defaults["nesterov"]) == (0.0, False)


@pytest.mark.parametrize("recipe", [default(), session10()])
def test_its_steps_are_those_of_torch(recipe: Recipe) -> None:
    torch.manual_seed(0)
    plain, ours = CustomResNet(3), CustomResNet(3)
    ours.load_state_dict(plain.state_dict())
    kind = torch.optim.SGD if recipe.optimizer == "sgd" else torch.optim.Adam
    built = optimizers.build(recipe, ours, CPU)
    torchs = kind(optimizers.parameter_groups(plain, recipe), **{"lr": recipe.max_lr, **_given(built)})
    images = torch.rand(4, 2, 3, 8, 8)
    for step in range(4):
        if step == 2:  # as in a resumed run
            built.load_state_dict(built.state_dict())
        for network, optimizer in ((plain, torchs), (ours, built)):
            optimizer.zero_grad()
            network(images[step]).logsumexp(dim=1).sum().backward()
            optimizer.step()
    for expected, actual in zip(plain.parameters(), ours.parameters(), strict=True):
        assert torch.equal(expected, actual)


def _given(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {
        name: optimizer.defaults[name]
        for name in ("momentum", "nesterov", "betas", "fused")
        if name in optimizer.defaults
    }
