"""The processor to train on, and its precision."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Any

import torch

from era_cli.errors import UsageError
from era_cli.place import ALONE, Place
from era_cli.text import plural

LIGHTNING_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True, kw_only=True)
class Device:
    """The chosen processor; `precision` is one of `fp32`, `bf16` and `fp16`, `emulated` if in software, slowly.

    Of the GPUs that several processes train on, `index` is that of this process.
    """

    accelerator: str
    name: str
    precision: str
    emulated: bool = False
    index: int = 0

    @property
    def torch_device(self) -> torch.device:
        """Where the network runs outside of Lightning's Trainer."""
        return torch.device("cuda", self.index) if self.accelerator == "cuda" else torch.device(self.accelerator)

    def as_dict(self) -> dict[str, Any]:
        """For run.json."""
        threads = torch.get_num_threads()
        return {
            "accelerator": self.accelerator,
            "name": self.name,
            "precision": self.precision,
            "threads": threads,
        }


def choose(gpus: str, precision: str, place: Place = ALONE) -> Device:
    """The device for `--gpus` (auto, all, or a number) and `--precision` (auto, fp32, bf16, fp16).

    Args:
        place: that of this process, which takes the GPU of its number on its machine.

    Raises:
        UsageError: there are not as many GPUs, or fp16 is requested on a CPU.
    """
    there = count_gpus()
    if gpus != "0" and not there and _has_mps():
        return _mps(gpus, precision, place)
    on_gpu = gpus != "0" and (gpus != "auto" or there > 0)
    needed = max(place.per_node, int(gpus) if gpus.isdecimal() else 1)
    if on_gpu and needed > there:
        found = f"torch finds {there or 'none'} here"
        if gpus == "auto":
            raise UsageError(
                f"{needed} processes on this machine need as many GPUs, and {found}: start one process per GPU, or use"
                " --gpus 0 for the CPU"
            )
        needs = "a GPU" if needed == 1 else plural(needed, "GPU")
        raise UsageError(
            f"--gpus {gpus} needs {needs}, and {found}: use --gpus {there}" + ("" if there else " for the CPU")
        )
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_has_bf16()
    if precision == "auto":
        precision = "bf16" if bf16 else "fp32"
    if precision == "fp16" and not on_gpu:
        raise UsageError("--precision fp16 needs a GPU: use bf16 or fp32 on the CPU")
    return Device(
        accelerator="cuda" if on_gpu else "cpu",
        name=torch.cuda.get_device_name(place.local_rank) if on_gpu else _cpu_name(),
        precision=precision,
        emulated=precision == "bf16" and not bf16,
        index=place.local_rank if on_gpu else 0,
    )


def count_gpus() -> int:
    """How many GPUs torch finds on this machine; Apple's is not counted."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def _mps(gpus: str, precision: str, place: Place) -> Device:
    """Apple's GPU, of which there is one; in fp32, as era has not been tried on it."""
    if place.processes > 1 or (gpus.isdecimal() and int(gpus) > 1):
        raise UsageError("torch uses only one GPU on a Mac: use --gpus 1, or --cpu-procs for several processes")
    if precision not in ("auto", "fp32"):
        raise UsageError(f"--precision {precision} has not been tried on Apple's GPU: use fp32, or --gpus 0")
    return Device(accelerator="mps", name="Apple GPU", precision="fp32")


def cores() -> int:
    """The cores that this process may use: a cluster may give it few of many."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(place: Place) -> None:
    """Divides the cores among the processes of this machine, unless something says how many threads each has.

    OMP_NUM_THREADS does, and SLURM gives each of its tasks cores of its own.
    """
    if place.per_node > 1 and not {"OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"} & set(os.environ):
        torch.set_num_threads(max(1, cores() // place.per_node))


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
