from __future__ import annotations

import pytest
import torch

from era_cli.core.training import devices
from era_cli.errors import UsageError

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@no_gpu
def test_without_a_gpu_auto_is_the_cpu() -> None:
    device = devices.choose("auto", "fp32")
    assert (device.accelerator, device.precision) == ("cpu", "fp32")
    assert device.name


@no_gpu
def test_a_gpu_that_is_not_there_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="--gpus 0"):
        devices.choose("1", "auto")


def test_fp16_on_the_cpu_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="--precision fp16 needs a GPU"):
        devices.choose("0", "fp16")


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx512_f": True}, "fp32"), ({}, "fp32")],
)
def test_auto_takes_bf16_where_the_cpu_multiplies_it(
    capabilities: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert devices.choose("0", "auto").precision == precision


@pytest.mark.parametrize("native", [True, False])
def test_bf16_that_the_cpu_lacks_is_emulated(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native}, raising=False)
    assert devices.choose("0", "bf16").emulated is not native
    assert not devices.choose("0", "fp32").emulated


def test_a_torch_that_cannot_tell_gets_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert devices.choose("0", "auto").precision == "fp32"
