"""Muon: momentum whose update is orthogonalised, for convolution filters; SGD for everything else.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks" (kellerjordan.github.io/posts/muon). The
gradient of a weight matrix is dominated by few directions; the nearest orthogonal matrix moves all of them by the same
amount. A Newton-Schulz iteration finds it, nearly, with matrix products alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from era_cli.recipes import Recipe

# x -> A x + B x^3 + C x^5 on every singular value. With the published coefficients it rises steeply at zero and ends
# near one, not at one: three iterations take singular values above 0.02 to between 0.68 and 1.21.
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 3  # as published for CIFAR-10; five for language models
SGD_MOMENTUM = 0.85  # of all that is not a filter; as published for CIFAR-10
TINY = 1e-7  # keeps the norm of a matrix of zeros from dividing by zero


class Muon(Optimizer):
    """Orthogonalised momentum for groups with `orthogonal`, SGD with momentum for the others.

    Filters (O, I, h, w) count as matrices (O, I * h * w). Before each update they are scaled to the root mean square
    norm of an orthogonal matrix's rows, sqrt(O) in all: a batch-norm behind them makes their length meaningless, but
    the longer they are, the less an update turns them.

    Args:
        bf16: iterate in bf16, which changes the singular values by a few hundredths; else in the filters' own type.
    """

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, nesterov: bool, bf16: bool) -> None:
        super().__init__(groups, {"lr": lr, "nesterov": nesterov, "momentum": 0.0, "weight_decay": 0.0})
        self._bf16 = bf16

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; the result of `closure`, which computes them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"]
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        buffer.mul_(group["momentum"]).add_(gradient)
        update = gradient.add(buffer, alpha=group["momentum"]) if group["nesterov"] else buffer
        if group["orthogonal"]:
            update = orthogonalized(update.flatten(1), bf16=self._bf16).view(parameter.shape)
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp_min(TINY))
        parameter.add_(update, alpha=-group["lr"])


def orthogonalized(matrix: Tensor, *, bf16: bool = False) -> Tensor:
    """(M, N) -> (M, N) with the same singular vectors and singular values near one, by Newton-Schulz iteration."""
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T  # the smaller product
    x = x / (x.norm() + TINY)  # no singular value above one
    x = x.to(torch.bfloat16) if bf16 else x
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = A * x + (B * gram + C * (gram @ gram)) @ x
    return (x if wide else x.T).to(matrix.dtype)


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Filters, linear weights, then batch-norm parameters and biases; each with its rate as a factor on the schedule's.

    The weight decay is divided by that factor, so that a step at the peak takes the same share of all, `max_lr` times
    `weight_decay`. Filters, whose length is fixed, have none.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    filters = [parameter for parameter in trained if parameter.ndim == 4]
    weights = [parameter for parameter in trained if parameter.ndim in (2, 3)]
    norm_and_bias = [parameter for parameter in trained if parameter.ndim <= 1]
    decay = recipe.weight_decay
    return [
        {"params": filters, "orthogonal": True, "lr_factor": 1.0, "momentum": recipe.momentum},
        {
            "params": weights,
            "orthogonal": False,
            "lr_factor": recipe.head_lr_factor,
            "momentum": SGD_MOMENTUM,
            "weight_decay": decay / recipe.head_lr_factor,
        },
        {
            "params": norm_and_bias,
            "orthogonal": False,
            "lr_factor": recipe.bias_lr_factor,
            "momentum": SGD_MOMENTUM,
            "weight_decay": decay * recipe.decay_norm_and_bias / recipe.bias_lr_factor,
        },
    ]
