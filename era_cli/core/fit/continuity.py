"""Whether what runs here and now computes the same numbers as what trained a run: resume and verify both ask.

With one thread and with two the losses of the same run differ from its first or second step on (8 to 32 px, fp32 and
bf16), and with them all weights; with the same number they are equal bit for bit.

A checkpoint says what computed it, since run.json names the most recent session, which may have saved nothing: in
`callbacks["RunWriter"]["environment"]`, the fields of DeviceRecord and Versions. Those of earlier versions of era say
nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import torch

from era_cli.core.training import devices
from era_cli.core.training.devices import Device
from era_cli.runs.document import DeviceRecord, Environment, RunDocument, Versions
from era_cli.text import plural

KEY = "environment"  # of the state of RunWriter


@dataclass(frozen=True)
class Change:
    """One property of the processor or the software, as it was in the run and as it is now."""

    name: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"a different {self.name} ({self.before} then, {self.now} now)"


def state_of(environment: Environment) -> dict[str, Any]:
    """Device and versions as a checkpoint holds them."""
    return {"device": dataclasses.asdict(environment.device), "versions": dataclasses.asdict(environment.versions)}


def of_state(state: Any) -> Environment:
    """What `state_of` was given, without commit and command.

    Raises:
        ValueError: it gave something else.
    """
    try:
        environment = Environment(
            device=msgspec.convert(state["device"], DeviceRecord),
            versions=msgspec.convert(state["versions"], Versions),
            git_commit=None,
            command=(),
        )
    except (msgspec.ValidationError, LookupError, TypeError) as error:
        raise ValueError("its environment is damaged") from error
    written = state_of(environment)
    if set(state) != set(written) or any(not state[part].items() <= written[part].items() for part in written):
        raise ValueError("its environment has unknown fields")
    return environment


def trained_by(writer: Mapping[str, Any], document: RunDocument) -> Environment:
    """What computed the checkpoint with this state of RunWriter, of the run described by `document` (run.json)."""
    return of_state(writer[KEY]) if KEY in writer else document


def changes(recorded: Environment, now: Environment) -> tuple[Change, ...]:
    """Everything that may round differently now; threads count on a CPU alone."""
    before, here = recorded.device, now.device
    pairs = [
        ("processor", before.name, here.name),
        ("PyTorch version", recorded.versions.torch, now.versions.torch),
        ("Lightning version", recorded.versions.lightning, now.versions.lightning),
        ("era version", recorded.versions.era, now.versions.era),
        ("precision", before.precision, here.precision),
        ("number of processes", str(before.processes), str(here.processes)),
    ]
    if before.accelerator == here.accelerator == "cpu":
        pairs.append(("number of threads", str(before.threads), str(here.threads)))
    return tuple(Change(*pair) for pair in pairs if pair[1] != pair[2])


def warning(recorded: Environment, now: Environment) -> str | None:
    """A sentence if the rest of the run cannot be bit for bit what it would have been without an interruption."""
    if not (changed := changes(recorded, now)):
        return None
    what = ", ".join(map(str, changed))
    return f"The run is resumed with {what}: its result may not be bit for bit that of an uninterrupted run."


def take_threads(recorded: DeviceRecord, device: Device) -> str | None:
    """Takes as many CPU threads as were recorded, on the same processor with that many cores; a sentence if it did.

    On another processor the numbers differ anyway. A side effect on the whole process: torch has one number of threads.
    """
    threads, chosen = recorded.threads, torch.get_num_threads()
    same = device.accelerator == recorded.accelerator == "cpu" and device.name == recorded.name
    if threads == chosen or not same or threads > devices.cores():
        return None
    torch.set_num_threads(threads)
    return f"Training with {plural(threads, 'CPU thread')}, as before; by default {chosen} would be used."


@contextlib.contextmanager
def threads_of(recorded: DeviceRecord, device: Device) -> Iterator[None]:
    """As `take_threads`, until the end of the block."""
    before = torch.get_num_threads()
    take_threads(recorded, device)
    try:
        yield
    finally:
        torch.set_num_threads(before)
