"""Starts the command line anew in several processes, which meet and train together, and watches over them.

Each has torchrun's environment variables, so that it does not matter who started it. torch.multiprocessing starts them:
Lightning's own launcher kills the first process five seconds after another has died, before it can say what happened,
and on Linux torch's lets no process outlive this one.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import socket
import time
from collections.abc import Mapping
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from era_cli.errors import EraError, UsageError
from era_cli.signals import forwarded

_NOTICE_SECONDS = 15.0  # in which the first process notices by itself that another is gone
_END_SECONDS = 10.0  # in which a process that was told to end has saved and ended


def run(per_node: int, nodes: int) -> int:
    """Runs this command line in `per_node` processes on each of `nodes` machines; the exit code is that of the first.

    Raises:
        UsageError: nothing says where the other machines are.
        EraError: the first process was killed.
    """
    from torch.multiprocessing.spawn import spawn

    variables = _variables(per_node, nodes)
    context: Any = spawn(_again, args=(variables,), nprocs=per_node, join=False)
    processes: list[BaseProcess] = context.processes
    with forwarded(lambda signum: _send(processes, signum)):
        _watch(processes)
    code = processes[0].exitcode or 0
    if code < 0:
        killer = signal.Signals(-code).name
        raise EraError(
            f"the first process on this machine was killed by {killer}: if the run has saved a checkpoint, resume it"
            " with era fit --resume and its name"
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
    with contextlib.suppress(OSError, AttributeError):
        os.setpgid(0, 0)  # a Ctrl-C reaches the watching process alone, which forwards it: else it would come twice
    rank = int(variables["GROUP_RANK"]) * int(variables["LOCAL_WORLD_SIZE"]) + number
    os.environ.update(variables, LOCAL_RANK=str(number), RANK=str(rank))
    runpy.run_module("era_cli", run_name="__main__", alter_sys=False)


def _watch(processes: list[BaseProcess]) -> None:
    """Waits until every process has ended; none outlives another by long."""
    first = processes[0]
    told = killed = None
    while alive := [process for process in processes if process.is_alive()]:
        wait([process.sentinel for process in alive], timeout=0.5)
        now = time.monotonic()
        failed = [process.exitcode for process in processes if process.exitcode]
        if told is None and (failed or not first.is_alive()):
            stopped = not first.is_alive() or any(code > 128 for code in failed)
            told = now + (0.0 if stopped else _NOTICE_SECONDS)
        if told is not None and killed is None and now >= told:
            _send(alive, signal.SIGTERM)
            killed = now + _END_SECONDS
        if killed is not None and now >= killed:
            _send(alive, getattr(signal, "SIGKILL", signal.SIGTERM))


def _send(processes: list[BaseProcess], signum: int) -> None:
    for process in processes:
        if process.is_alive() and process.pid is not None:
            with contextlib.suppress(OSError):
                os.kill(process.pid, signum)
