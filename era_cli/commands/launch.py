"""Starts the command line anew in several processes, which meet and train together, and watches over them.

Each has torchrun's environment variables, so that it does not matter who started it. Lightning's own launcher kills the
first process five seconds after another has died, before it can say what happened; torch's loads torch before it can
handle a signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from era_cli.errors import EraError, Interrupted, UsageError
from era_cli.signals import blocked, end_on_signals, forwarded

_NOTICE_SECONDS = 15.0  # in which the first process notices by itself that another is gone
_STOP_SECONDS = 5.0  # in which it has ended after another was stopped
_END_SECONDS = 8.0  # in which a process that was told to end has saved and ended
_DEATH_OF_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl


def run(per_node: int, nodes: int) -> int:
    """Runs this command line in `per_node` processes on each of `nodes` machines; the exit code is that of the first.

    Raises:
        UsageError: nothing says where the other machines are.
        EraError: the first process was killed.
        Interrupted: a signal came before it could handle one.
    """
    variables = _variables(per_node, nodes)
    spawn = multiprocessing.get_context("spawn")
    team = _Team([spawn.Process(target=_again, args=(number, variables)) for number in range(per_node)])
    with forwarded(team.forward):
        with blocked():  # until they handle signals
            for process in team.processes:
                process.start()
        team.watch()
    code = team.processes[0].exitcode or 0
    if code < 0 and team.received is not None:
        raise Interrupted(team.received)
    if code < 0:
        raise EraError(
            f"the first process on this machine was killed by {signal.Signals(-code).name}: if the run has saved a"
            " checkpoint, resume it with era fit --resume and its name"
        )
    return code


def _variables(per_node: int, nodes: int) -> dict[str, str]:
    """torchrun's variables, but for those that differ from process to process on this machine."""
    node = "0"
    if nodes == 1:
        address, port = "127.0.0.1", str(_free_port())
    else:
        try:
            address, port, node = (os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"))
        except KeyError as error:
            raise UsageError(
                f"--nodes {nodes} needs the environment variable {error.args[0]}: set MASTER_ADDR to the first"
                " machine's address, MASTER_PORT to a free port on it and NODE_RANK to this machine's number"
                " (counting from 0), or start era with torchrun or srun"
            ) from None
        if not node.isdecimal() or int(node) >= nodes:
            raise UsageError(f"NODE_RANK is {node[:20]!r}, but must be a number from 0 to {nodes - 1}")
    return {
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
        "GROUP_RANK": node,
        "LOCAL_WORLD_SIZE": str(per_node),
        "WORLD_SIZE": str(per_node * nodes),
    }


def _free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


def _again(number: int, variables: Mapping[str, str]) -> None:
    """Runs the command line in a new process, the `number`-th of this machine."""
    rank = int(variables["GROUP_RANK"]) * int(variables["LOCAL_WORLD_SIZE"]) + number
    os.environ.update(variables, LOCAL_RANK=str(number), RANK=str(rank))
    end_on_signals()
    _end_with_parent()
    with contextlib.suppress(OSError, AttributeError):
        os.setpgid(0, 0)  # a Ctrl-C reaches the watching process alone, which forwards it: else it would come twice
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    runpy.run_module("era_cli", run_name="__main__", alter_sys=False)


def _end_with_parent() -> None:
    """Lets the system send SIGTERM when the process that watches is gone, even by SIGKILL; on Linux alone."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_DEATH_OF_PARENT, signal.SIGTERM)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)


@dataclass
class _Team:
    """The processes of this machine; `received` is the first signal that was forwarded to them."""

    processes: list[BaseProcess]
    received: int | None = None
    _repeated: bool = field(default=False, init=False)

    def forward(self, signum: int) -> None:
        """Hands a signal on; a second one ends processes that the first did not."""
        self._repeated = self.received is not None
        self.received = self.received or signum
        if os.name != "nt":  # Windows hands a Ctrl-C to all by itself
            self._send(signum)

    def watch(self) -> None:
        """Waits until every process has ended; none outlives another by long."""
        first = self.processes[0]
        told = killed = None
        while alive := [process for process in self.processes if process.is_alive()]:
            wait([process.sentinel for process in alive], timeout=0.2)
            now = time.monotonic()
            if told is None and (patience := self._patience(first)) is not None:
                told = now + patience
            if told is not None and killed is None and now >= told:
                self._send(signal.SIGTERM)
                killed = now + _END_SECONDS
            if killed is not None and now >= killed:
                self._send(getattr(signal, "SIGKILL", signal.SIGTERM))

    def _patience(self, first: BaseProcess) -> float | None:
        """How many seconds those that are left may take to end by themselves; None if they may go on."""
        failed = [process.exitcode for process in self.processes if process.exitcode]
        if self._repeated or not first.is_alive():
            return _STOP_SECONDS
        if any(code > 128 for code in failed):
            return _STOP_SECONDS
        return _NOTICE_SECONDS if failed else None

    def _send(self, signum: int) -> None:
        for process in self.processes:
            if process.is_alive() and process.pid is not None:
                with contextlib.suppress(OSError):
                    os.kill(process.pid, signum)
