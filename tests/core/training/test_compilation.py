from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from era_cli.core.networks import checkpoint
from era_cli.core.training.compilation import Compiled
from era_cli.errors import Interrupted
from era_cli.listener import Listener
from era_cli.runs import artifacts


class Wrapped(nn.Module):
    """Stands for what torch.compile returns: a module that holds the network under another name."""

    def __init__(self, network: nn.Module, **_: Any) -> None:
        super().__init__()
        self._orig_mod = network

    def forward(self, images: Tensor) -> Tensor:
        return self._orig_mod(images)


class FailsForward(Wrapped):
    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("no compiler here,\nand a long story")


class FailsBackward(Wrapped):
    """As torch does, which compiles the backward pass only when it comes."""

    def forward(self, images: Tensor) -> Tensor:
        answers = super().forward(images)
        answers.register_hook(self._refuse)
        return answers

    def _refuse(self, gradient: Tensor) -> Tensor:
        raise RuntimeError("no compiler here,\nand a long story")


@pytest.mark.parametrize("failing", [FailsForward, FailsBackward])
def test_a_failed_compilation_falls_back_with_a_note(failing: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", failing)
    notes: list[str] = []
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    twin = copy.deepcopy(network)
    compiled = Compiled(network, notes.append)
    batch = torch.rand(4, 3)
    for seed in range(2):
        torch.manual_seed(seed)
        answers = compiled(batch)
        torch.manual_seed(seed)
        assert torch.equal(answers, twin(batch))
        answers.sum().backward()
    assert notes == [
        "torch could not compile the network (no compiler here, and a long story): training continues uncompiled."
    ]
    assert (
        network.state_dict()["0.num_batches_tracked"] == before["0.num_batches_tracked"] + 2
    )  # the trial left no trace


def test_a_stop_signal_is_no_fault_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Wrapped):
        def forward(self, images: Tensor) -> Tensor:
            raise Interrupted(15)

    monkeypatch.setattr(torch, "compile", Stopped)
    with pytest.raises(Interrupted):
        Compiled(nn.Linear(3, 2), lambda text: None)(torch.rand(4, 3))


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++, which is not here")
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_gives_the_same_gradients() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4, bias=False))  # its products are calls: a kernel takes g++ some ten seconds
    notes: list[str] = []
    compiled = Compiled(network, notes.append)
    batch = torch.rand(5, 3)
    weight = network[0].weight
    assert isinstance(weight, nn.Parameter)
    (plain,) = torch.autograd.grad(network(batch).square().sum(), weight)
    (fast,) = torch.autograd.grad(compiled(batch).square().sum(), weight)
    torch.testing.assert_close(fast, plain)
    assert notes == []
    assert set(network.state_dict()) == {"0.weight"}


def test_compilation_changes_neither_results_nor_names(
    fit_digits: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[int, ...]] = []

    class Watched(Wrapped):
        def forward(self, images: Tensor) -> Tensor:
            called.append(tuple(images.shape))
            return super().forward(images)

    monkeypatch.setattr(torch, "compile", Watched)
    plain = fit_digits(epochs=1)
    result = plain.train(Listener())
    assert called == []
    compiled = fit_digits(epochs=1, compile=True)
    assert compiled.train(Listener()).test_loss == result.test_loss  # dropout and batch-norm as without
    assert called == [(32, 3, 8, 8)] * (1 + 5)  # the trial and five steps
    names = [set(checkpoint.read(fit.run.checkpoints / artifacts.LAST)["state_dict"]) for fit in (plain, compiled)]
    assert names[0] == names[1]
