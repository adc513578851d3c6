"""The processes that train together: how they meet, agree, and notice that one of them is gone.

Numbers on the CPU go through gloo, on GPUs through NCCL. Waiting for the first process is done in short looks at the
store, since a signal is not handled while a collective operation waits.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from era_cli.core.data.share import Share
from era_cli.errors import EraError, ProcessLost, UsageError
from era_cli.place import ALONE, Place

MEETING_SECONDS = 30.0  # in which all processes must have come
_PATIENCE = timedelta(minutes=10)  # with a process that is there and does not answer: a slow disk, a paused machine
_LOOK_EVERY = 0.05  # seconds
_LEAVE_SECONDS = 5.0
# In the error of gloo, NCCL or the store when another process is gone.
_LOST = (
    "closed",
    "reset by peer",
    "broken pipe",
    "timed out",
    "timeout",
    "got 0 bytes",
    "connection refused",
    "exited",
)


@dataclass(frozen=True)
class Group:
    """The processes that train together, seen from one of them; alone it does nothing."""

    place: Place = ALONE
    store: Any = None

    @property
    def share(self) -> Share:
        """The part of every batch that this process takes."""
        return Share(self.place.rank, self.place.processes)

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.place.processes == 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.place.is_first

    def highest(self, numbers: Sequence[int]) -> list[int]:
        """The highest of each of these numbers over all processes, each of which must call this."""
        if self.is_alone:
            return list(numbers)
        everyones = torch.tensor(numbers, dtype=torch.int64)
        with self.watched():
            dist.all_reduce(everyones, dist.ReduceOp.MAX)
        return [int(number) for number in everyones.tolist()]

    def add_up(self, *tensors: Tensor) -> None:
        """Replaces each tensor by its sum over all processes, each of which must call this.

        They are added in the order of the processes, so that the sum does not depend on how many tensors there are.
        """
        if self.is_alone:
            return
        with self.watched():
            for tensor in tensors:
                everyones = [torch.empty_like(tensor) for _ in range(self.place.processes)]
                dist.all_gather(everyones, tensor.contiguous())
                tensor.copy_(_in_order(everyones))

    def take_buffers_of_first(self, module: torch.nn.Module) -> None:
        """Gives every process the buffers of the first: batch-norm's averages, of which each has its own."""
        if self.is_alone:
            return
        with self.watched():
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def bytes_of_first(self, content: bytes | None) -> bytes:
        """The `content` that the first process gave, in every process."""
        if self.is_alone:
            assert content is not None
            return content
        with self.watched():
            size = torch.tensor([len(content or b"")])
            dist.broadcast(size, 0)
            shared = torch.empty(int(size), dtype=torch.uint8)
            if content is not None:
                shared.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
            dist.broadcast(shared, 0)
        return shared.numpy().tobytes()

    def tell(self, text: str) -> None:
        """Sends a message to all others, which listen for it."""
        if not self.is_alone:
            with self.watched():
                self.store.set(f"message {self.store.add('told', 1)}", text)

    def listen(self) -> str:
        """The next message of the first process.

        Raises:
            ProcessLost: it is gone.
        """
        with self.watched():
            name = f"message {self.store.add(f'heard by {self.place.rank}', 1)}"
            while not self.store.check([name]):
                time.sleep(_LOOK_EVERY)
            return str(self.store.get(name).decode())

    def excuse(self, text: str) -> None:
        """Leaves a sentence that explains to the first process why this one ends; the first one counts."""
        with contextlib.suppress(Exception):
            if not self.is_alone and not self.store.check(["excuse"]):
                self.store.set("excuse", f"rank {self.place.rank} of {self.place.processes} processes failed: {text}")

    def leave(self) -> None:
        """Ends the group; the first process waits for the others, whose store may live in it."""
        if self.is_alone:
            return
        with contextlib.suppress(Exception):
            here = self.store.add("leaving", 1)
            until = time.monotonic() + _LEAVE_SECONDS
            while self.is_first and here < self.place.processes and time.monotonic() < until:
                time.sleep(_LOOK_EVERY)
                here = self.store.add("leaving", 0)
        self._end()

    def leave_after_first(self) -> None:
        """Ends the group when the first process has: who starts them may stop all as soon as one has failed."""
        with contextlib.suppress(Exception):
            self._end()
            until = time.monotonic() + _LEAVE_SECONDS
            while not self.store.check(["first has left"]) and time.monotonic() < until:
                time.sleep(_LOOK_EVERY)

    def say_left(self) -> None:
        """Says that the first process has done what it had to after a failure."""
        if self.is_first and not self.is_alone:
            with contextlib.suppress(Exception):
                self.store.set("first has left", "")

    def _end(self) -> None:
        with contextlib.suppress(Exception):
            # On GPUs a kernel that waits for a lost process would keep this one waiting, too.
            end = dist.distributed_c10d._abort_process_group if torch.cuda.is_initialized() else None
            (end or dist.destroy_process_group)()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Turns the error of a lost connection into a sentence.

        Raises:
            ProcessLost: another process is gone.
        """
        try:
            yield
        except (RuntimeError, ConnectionError) as error:
            if self.is_alone:
                raise
            if is_loss(error):
                self._end()
                raise ProcessLost(self._excuse()) from error
            if isinstance(error, dist.DistError):
                raise EraError(f"the processes cannot communicate ({' '.join(str(error).split())[:200]})") from error
            raise

    def _excuse(self) -> str:
        with contextlib.suppress(Exception):
            if self.store.check(["excuse"]):
                return str(self.store.get("excuse").decode())
        return (
            f"one of the {self.place.processes} processes ended unexpectedly (it was killed or crashed, or its"
            " machine cannot be reached)"
        )


NOBODY_ELSE = Group()


def is_loss(error: BaseException) -> bool:
    """Whether the error is that another process is gone."""
    said = str(error).lower()
    return isinstance(error, ProcessLost) or (
        isinstance(error, RuntimeError | ConnectionError) and any(sign in said for sign in _LOST)
    )


def _in_order(tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0].clone()
    for tensor in tensors[1:]:
        total += tensor
    return total


def meet(place: Place) -> Group:
    """Connects this process with the others of its `place`; alone, with nobody.

    Raises:
        EraError: they are not all there within MEETING_SECONDS, or the port is in use.
    """
    if place.processes == 1:
        return Group()
    address, port = _address(place)
    try:
        url = "env://" if not place.by_slurm else f"tcp://{address}:{port}"
        store, _, _ = next(rendezvous(url, place.rank, place.processes, timeout=timedelta(seconds=MEETING_SECONDS)))
        # torchrun keeps one store through all attempts to start the processes.
        store = PrefixStore(f"era {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        store.set_timeout(timedelta(seconds=MEETING_SECONDS))
    except (RuntimeError, ValueError, OSError) as error:
        if "EADDRINUSE" in str(error) or "in use" in str(error):
            raise EraError(
                f"port {port} of {address} is in use, so the processes cannot connect there: set MASTER_PORT to another"
            ) from error
        missing = f"not all {place.processes} processes connected to" if place.is_first else "there was no answer from"
        raise EraError(
            f"{missing} {address}:{port} within {MEETING_SECONDS:g} s: start {place.per_node} on each node"
            f"{' with srun' * place.by_slurm}, and check MASTER_ADDR and MASTER_PORT"
        ) from error
    store.set_timeout(_PATIENCE)
    both = torch.cuda.is_available() and dist.is_nccl_available()
    group = Group(place, store)
    with group.watched():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if both else "gloo",
            store=store,
            rank=place.rank,
            world_size=place.processes,
            timeout=_PATIENCE,
        )
    return group


def _address(place: Place) -> tuple[str, int]:
    if place.by_slurm:
        from era_cli.core.training.lightning import SLURMEnvironment

        try:
            slurm = SLURMEnvironment(auto_requeue=False)
            return slurm.main_address, slurm.main_port
        except (RuntimeError, ValueError) as error:
            raise EraError(
                f"SLURM's settings cannot be used ({error}): start era with srun and --ntasks-per-node"
            ) from error
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise UsageError(
                f"the environment variable {name} is missing: set it to where the first process can be reached"
            )
    port = os.environ["MASTER_PORT"]
    if not (port.isdecimal() and int(port) < 1 << 16):
        raise UsageError(f"the environment variable MASTER_PORT is {port[:20]!r}, but must be a port number")
    return os.environ["MASTER_ADDR"], int(port)
