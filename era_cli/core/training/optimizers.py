"""The optimizers that a recipe can name, and the parameter groups that they are given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from era_cli.core.training import muon
from era_cli.errors import EraError
from era_cli.recipes import Recipe

Groups = list[dict[str, Any]]
Kind = TypeVar("Kind", bound=Optimizer)

_HOOKED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def _without_compiler_hooks(kind: type[Kind]) -> type[Kind]:
    """`kind` without the decorators for torch.compile: on their first call they load torch's compiler.

    era never compiles an optimizer, and the compiler takes as long to load as the rest of torch (torch 2.14,
    torch/_compile.py and `_use_grad_for_differentiable` in torch/optim/optimizer.py).
    """
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in _HOOKED}
    return type(kind.__name__, (kind,), {**plain, "step": torch.no_grad()(inspect.unwrap(kind.step))})


def _fused(device: torch.device) -> bool | None:
    # One pass over all parameters, where torch's default on a CPU takes three times as long. Not on a GPU: there
    # fused SGD keeps uninitialised momentum when fp16's first step overflows.
    return device.type == "cpu" or None


def _sgd(network: nn.Module, recipe: Recipe, device: torch.device, bf16: bool) -> Optimizer:
    nesterov = recipe.nesterov and recipe.momentum > 0  # without momentum it is plain SGD, which torch wants said
    groups = parameter_groups(network, recipe)
    return _without_compiler_hooks(SGD)(
        groups, lr=recipe.max_lr, momentum=recipe.momentum, nesterov=nesterov, fused=_fused(device)
    )


def _adam(network: nn.Module, recipe: Recipe, device: torch.device, bf16: bool) -> Optimizer:
    groups, betas = parameter_groups(network, recipe), (recipe.momentum, 0.999)
    return _without_compiler_hooks(Adam)(groups, lr=recipe.max_lr, betas=betas, fused=_fused(device))


def _muon(network: nn.Module, recipe: Recipe, device: torch.device, bf16: bool) -> Optimizer:
    groups = muon.parameter_groups(network, recipe)
    return _without_compiler_hooks(muon.Muon)(groups, lr=recipe.max_lr, nesterov=recipe.nesterov, bf16=bf16)


OPTIMIZERS: dict[str, Callable[[nn.Module, Recipe, torch.device, bool], Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "muon": _muon,
}


def parameter_groups(network: nn.Module, recipe: Recipe) -> Groups:
    """The weights, then batch-norm parameters and biases, each with its weight decay; nothing that is frozen."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    weights = [parameter for parameter in trained if parameter.ndim > 1]
    norm_and_bias = [parameter for parameter in trained if parameter.ndim <= 1]
    return [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": norm_and_bias, "weight_decay": recipe.weight_decay * recipe.decay_norm_and_bias},
    ]


def build(recipe: Recipe, network: nn.Module, device: torch.device, *, bf16: bool = False) -> Optimizer:
    """The recipe's optimizer for `network`, which lies on `device` and is trained in `bf16` or not.

    Raises:
        EraError: there is no optimizer of that name.
    """
    if recipe.optimizer not in OPTIMIZERS:
        raise EraError(f"there is no optimizer {recipe.optimizer!r}: --optimizer takes {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[recipe.optimizer](network, recipe, device, bf16)
