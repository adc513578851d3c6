from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from era_cli.core.networks.fastnet import FastNet
from era_cli.core.training import optimizers
from era_cli.core.training.muon import SGD_MOMENTUM, orthogonalized
from era_cli.core.training.schedules import Exponential, OneCycle
from era_cli.recipes import Recipe, default, with_options

Array = npt.NDArray[np.float64]
CPU = torch.device("cpu")


def recipe(**fields: Any) -> Recipe:
    return with_options(default(), {"optimizer": "muon", "network": "fastnet", **fields})


def quintic(values: Array) -> Array:
    """What three iterations make of singular values in [0, 1]."""
    for _ in range(3):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


def reference(matrix: Array) -> Array:
    """The iteration on the singular values alone, which is what it means."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return (left * quintic(values / np.sqrt((values**2).sum()))) @ right


@pytest.mark.parametrize("shape", [(16, 90), (90, 16), (24, 12), (1, 5)])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_it_changes_the_singular_values_as_the_quintic_says(shape: tuple[int, int], bf16: bool) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    update = orthogonalized(matrix, bf16=bf16)
    assert update.dtype == torch.float32
    # Rounding to bf16 changes a number by up to 2 ** -9 of it, and the slope of three iterations is at most 3.4 ** 3.
    tolerance = 2**-9 * 3.4445**3 if bf16 else 1e-5
    assert np.abs(update.double().numpy() - reference(matrix.double().numpy())).max() < tolerance


def test_its_update_is_nearly_orthogonal() -> None:
    """Singular values above 0.02 of the norm end where the quintic's three iterations take that interval."""
    interval = quintic(np.linspace(0.02, 1, 100_001))
    assert (interval.min(), interval.max()) == (pytest.approx(0.682, abs=1e-3), pytest.approx(1.202, abs=1e-3))
    left, _ = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(1)))
    right, _ = torch.linalg.qr(torch.randn(180, 20, generator=torch.Generator().manual_seed(2)))
    values = torch.logspace(0, -1.5, 20)  # thirty times as strong in one direction as in another
    assert (values / values.norm()).min() > 0.011
    update = orthogonalized((left * values) @ right.T)
    after = torch.linalg.svdvals(update)
    strong = int((values / values.norm() > 0.02).sum())
    assert strong >= 15
    assert float(after[0]) <= interval.max() + 1e-4
    assert int((after >= interval.min() - 1e-4).sum()) >= strong


def test_no_gradient_is_no_update() -> None:
    assert not orthogonalized(torch.zeros(3, 4)).any()


def test_its_steps_are_those_of_the_formula() -> None:
    """Nesterov momentum, orthogonalised for filters of fixed length; SGD with rates of its own for the rest."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4, 3)).to(memory_format=torch.channels_last)
    own = recipe(
        max_lr=0.1, weight_decay=0.01, decay_norm_and_bias=True, head_lr_factor=5.0, bias_lr_factor=0.5, momentum=0.7
    )
    optimizer = optimizers.build(own, network, CPU)
    wanted = {name: parameter.detach().double().numpy().copy() for name, parameter in network.named_parameters()}
    buffers = {name: np.zeros_like(value) for name, value in wanted.items()}
    for group, factor in zip(optimizer.param_groups, (1.0, 5.0, 0.5), strict=True):
        group["lr"] = 0.1 * factor
    images = torch.randn(3, 6, 2, 3, 3)
    for batch in images:
        optimizer.zero_grad()
        network(batch).logsumexp(dim=1).sum().backward()
        optimizer.step()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None
            gradient = parameter.grad.double().numpy()
            is_filter, factor = parameter.ndim == 4, {4: 1.0, 2: 5.0, 1: 0.5}[parameter.ndim]
            momentum = 0.7 if is_filter else SGD_MOMENTUM
            if not is_filter:
                gradient = gradient + 0.01 / factor * wanted[name]
            buffers[name] = momentum * buffers[name] + gradient
            update = gradient + momentum * buffers[name]
            if is_filter:
                update = reference(update.reshape(4, -1)).reshape(update.shape)
                wanted[name] *= 2 / np.linalg.norm(wanted[name])
            wanted[name] = wanted[name] - 0.1 * factor * update
            assert np.abs(parameter.detach().double().numpy() - wanted[name]).max() < 1e-5, name


def test_every_trained_parameter_is_in_one_group() -> None:
    network = FastNet(10)
    filters, weights, rest = optimizers.build(recipe(), network, CPU).param_groups
    assert [len(group["params"]) for group in (filters, weights, rest)] == [6, 1, 6 + 1]
    assert weights["params"] == [network.linear.weight]
    assert network.first_convolution.weight not in set(filters["params"])
    assert (filters["momentum"], weights["momentum"]) == (0.6, SGD_MOMENTUM)
    assert (filters["weight_decay"], weights["weight_decay"], rest["weight_decay"]) == (0, pytest.approx(1e-3 / 2.8), 0)


def test_the_groups_follow_one_schedule_at_their_own_rates() -> None:
    own = recipe(max_lr=0.5, head_lr_factor=4.0, bias_lr_factor=0.1)
    optimizer = optimizers.build(own, FastNet(3), CPU)
    scheduler = OneCycle(own, 20)(optimizer)
    seen = []
    for _ in range(20):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert max(rate for rate, _, _ in seen) == pytest.approx(0.5)
    for rate, head, bias in seen:
        assert (head, bias) == (pytest.approx(4 * rate), pytest.approx(0.1 * rate))


def test_a_sweep_keeps_the_ratios_of_the_rates() -> None:
    optimizer = optimizers.build(recipe(head_lr_factor=4.0, bias_lr_factor=0.1), FastNet(3), CPU)
    scheduler = Exponential(0.01, 1.0, 3)(optimizer)
    for rate in (0.01, 0.1, 1.0):
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rate, 4 * rate, 0.1 * rate])
        optimizer.step()
        scheduler.step()


def test_a_restored_state_continues_bit_for_bit() -> None:
    torch.manual_seed(0)
    straight, stopped = FastNet(3), FastNet(3)
    stopped.load_state_dict(straight.state_dict())
    images = torch.rand(4, 2, 3, 8, 8)
    built = [optimizers.build(recipe(), network, CPU) for network in (straight, stopped)]
    for step, batch in enumerate(images):
        if step == 2:
            again = optimizers.build(dataclasses.replace(recipe()), stopped, CPU)
            again.load_state_dict(built[1].state_dict())
            built[1] = again
        for network, optimizer in zip((straight, stopped), built, strict=True):
            optimizer.zero_grad()
            network(batch).logsumexp(dim=1).sum().backward()
            optimizer.step()
    for expected, actual in zip(straight.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(expected, actual)
