"""Whether a resumed run goes on as it was trained so far: rounding depends on processor, torch and threads.

With one thread and with two the losses of the same run differ from its first or second step on (8 to 32 px, fp32 and
bf16), and with them all weights; with the same number they are equal bit for bit.
"""

from __future__ import annotations

import os

import torch

from era_cli.core.training.devices import Device
from era_cli.runs.document import RunDocument
from era_cli.text import plural


def keep_threads(document: RunDocument, device: Device) -> str | None:
    """Takes as many CPU threads as the run had, where the machine has that many cores; what a person should know of it.

    A side effect on the whole process: torch has one number of threads.
    """
    threads, chosen = document.device.threads, torch.get_num_threads()
    both_cpu = device.accelerator == document.device.accelerator == "cpu"
    if threads == chosen or not both_cpu or threads > (os.cpu_count() or 1):
        return None
    torch.set_num_threads(threads)
    return f"Training with {plural(threads, 'CPU thread')}, as before, where {chosen} would have been taken."


def difference(document: RunDocument, device: Device) -> str | None:
    """A sentence if the rest of the run cannot be bit for bit what it would have been without an interruption."""
    before = document.device
    pairs = [(before.name, device.name), (f"torch {document.versions.torch}", f"torch {torch.__version__}")]
    if before.accelerator == device.accelerator == "cpu":
        pairs.append((plural(before.threads, "thread"), plural(torch.get_num_threads(), "thread")))
    changed = [(old, new) for old, new in pairs if old != new]
    if not changed:
        return None
    old, new = (", ".join(side) for side in zip(*changed, strict=True))
    return f"The run was on {old} and is on {new} now: its result will not be bit for bit that of an uninterrupted run."
