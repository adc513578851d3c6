"""The processor to train on, and its precision."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any

import torch

from era_cli.errors import UsageError

LIGHTNING_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True, kw_only=True)
class Device:
    """The chosen processor; `precision` is one of `fp32`, `bf16` and `fp16`, `emulated` if in software, slowly."""

    accelerator: str
    name: str
    precision: str
    emulated: bool = False

    @property
    def torch_device(self) -> torch.device:
        """Where the network runs outside of Lightning's Trainer."""
        return torch.device("cuda", 0) if self.accelerator == "cuda" else torch.device("cpu")

    def as_dict(self) -> dict[str, Any]:
        """For run.json."""
        threads = torch.get_num_threads()
        return {
            "accelerator": self.accelerator,
            "name": self.name,
            "precision": self.precision,
            "threads": threads,
        }


def choose(gpus: str, precision: str) -> Device:
    """The device for `--gpus` (auto, 0, 1) and `--precision` (auto, fp32, bf16, fp16).

    Raises:
        UsageError: there is no GPU, or fp16 is requested on a CPU.
    """
    there = torch.cuda.is_available()
    if gpus == "1" and not there:
        raise UsageError("--gpus 1 needs a GPU, and torch finds none here: use --gpus 0 for the CPU")
    on_gpu = there and gpus != "0"
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_has_bf16()
    if precision == "auto":
        precision = "bf16" if bf16 else "fp32"
    if precision == "fp16" and not on_gpu:
        raise UsageError("--precision fp16 needs a GPU: use bf16 or fp32 on the CPU")
    return Device(
        accelerator="cuda" if on_gpu else "cpu",
        name=torch.cuda.get_device_name(0) if on_gpu else _cpu_name(),
        precision=precision,
        emulated=precision == "bf16" and not bf16,
    )


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 itself (AVX-512-BF16 or AMX); emulated it is slower than fp32."""
    capabilities = _cpu_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _cpu_capabilities() -> dict[str, Any]:
    if hasattr(torch.cpu, "get_capabilities"):
        return dict(torch.cpu.get_capabilities())
    # The oldest torch allowed may lack it.
    older = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return {"avx512_bf16": older()}


def _cpu_name() -> str:
    return str(_cpu_capabilities().get("cpu_name") or platform.processor() or platform.machine())
