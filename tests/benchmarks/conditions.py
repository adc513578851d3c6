"""Under what conditions figures were taken."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version

import torch

from era_cli.core.training import devices
from tests.benchmarks import ROOT


def conditions() -> dict[str, str]:
    """Machine, versions, precision, commit and date, each as people read it."""
    device = devices.choose("auto", "auto")
    capabilities = dict(torch.cpu.get_capabilities()) if hasattr(torch.cpu, "get_capabilities") else {}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git commit": _commit(),
        "device": device.name,
        "precision of --precision auto": device.precision,
        "CPU": str(capabilities.get("cpu_name") or platform.processor() or platform.machine()),
        "cores": str(os.cpu_count()),
        "threads of torch": str(torch.get_num_threads()),
        "memory": _memory(),
        "load average before": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown",
        "system": platform.platform(),
        "Python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "lightning", "numpy")},
    }


def _commit() -> str:
    """The commit of this checkout, and whether the working tree differs from it."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + (" with changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    asked = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
    return asked.stdout.strip()


def _memory() -> str:
    if not hasattr(os, "sysconf"):  # Windows
        return "unknown"
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.1f} GB"
