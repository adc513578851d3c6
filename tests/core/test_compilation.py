from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from era_cli.core import compilation
from era_cli.core.compilation import Compiled
from era_cli.listener import Listener


def refuse(*_: Any, **__: Any) -> Any:
    raise RuntimeError("no compiler here\nand a long story")


class Failing:
    """Stands for torch.compile where it fails only when the first batch comes."""

    def __init__(self, network: nn.Module, **_: Any) -> None:
        pass

    __call__ = refuse


def test_where_compiling_fails_the_network_answers_itself_and_it_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", Failing)
    notes: list[str] = []
    network = nn.Linear(3, 2)
    compiled = Compiled(network, notes.append)
    batch = torch.rand(4, 3)
    for _ in range(2):
        assert torch.equal(compiled(batch), network(batch))
    assert notes == ["torch could not compile the network (no compiler here): training goes on uncompiled."]


def test_the_networks_own_error_is_no_fault_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", Failing)
    compiled = Compiled(nn.Linear(3, 2), lambda text: None)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            compiled(torch.rand(4, 5))


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++, which is not here")
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_gives_the_same_gradients() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    notes: list[str] = []
    compiled = Compiled(network, notes.append)
    batch = torch.rand(5, 3)
    weight = network[0].weight
    assert isinstance(weight, nn.Parameter)
    (plain,) = torch.autograd.grad(network(batch).square().sum(), weight)
    (fast,) = torch.autograd.grad(compiled(batch).square().sum(), weight)
    torch.testing.assert_close(fast, plain)
    assert notes == []
    assert set(network.state_dict()) == {"0.weight", "0.bias"}


def test_a_training_is_compiled_where_asked_and_stored_under_the_plain_names(
    fit_digits: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[int, ...]] = []

    class Watched:
        def __init__(self, network: nn.Module, note: Any) -> None:
            self._network = network

        def __call__(self, images: Tensor) -> Tensor:
            called.append(tuple(images.shape))
            return self._network(images)

    monkeypatch.setattr(compilation, "Compiled", Watched)
    monkeypatch.setattr("era_cli.core.module.Compiled", Watched)
    plain = fit_digits(epochs=1).train(Listener())
    assert called == []
    compiled = fit_digits(epochs=1, compile=True)
    result = compiled.train(Listener())
    assert called == [(32, 3, 8, 8)] * 5
    assert (result.test_acc, result.test_loss) == (plain.test_acc, plain.test_loss)
