from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from era_cli.core.networks import checkpoint, weights
from era_cli.errors import EraError
from era_cli.runs import artifacts
from era_cli.runs.run import Run


def test_a_network_is_built_from_run_json_and_checkpoint(finished_run: Path) -> None:
    run = Run(finished_run)
    path = run.checkpoints / artifacts.BEST
    loaded = weights.load(run.read(), path)
    state = checkpoint.read(path)
    assert not loaded.network.training
    tensors = loaded.network.state_dict()
    assert all(torch.equal(tensor, state["state_dict"][f"network.{name}"]) for name, tensor in tensors.items())
    assert (loaded.step, loaded.digest) == (state["global_step"], checkpoint.digest(path))


def test_a_checkpoint_of_another_class_count_is_refused(finished_run: Path) -> None:
    run = Run(finished_run)
    document = run.read()
    data = dataclasses.replace(document.data, classes=("one", "two"), class_counts=None)
    document = dataclasses.replace(document, data=data)
    with pytest.raises(EraError, match="has 10 outputs and the run has 2 classes"):
        weights.load(document, run.checkpoints / artifacts.BEST)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_weights_of_another_type_are_refused(dtype: torch.dtype, finished_run: Path, tmp_path: Path) -> None:
    run = Run(finished_run)
    state = checkpoint.read(run.checkpoints / artifacts.BEST)
    name = "network.prep.conv.weight"
    state["state_dict"][name] = state["state_dict"][name].to(dtype)
    checkpoint.write({"state_dict": state["state_dict"]}, tmp_path / "other.ckpt")
    with pytest.raises(EraError, match=r"prep.conv.weight is \w+, and must be float32"):
        weights.load(run.read(), tmp_path / "other.ckpt")
