"""Runs that are stopped and resumed in this process."""

from __future__ import annotations

import dataclasses
import os
import signal
from typing import Any

import pytest

from era_cli.core.fit import continuity, start
from era_cli.core.fit.fit import Fit
from era_cli.core.networks import checkpoint
from era_cli.errors import Interrupted
from era_cli.listener import Listener
from era_cli.runs.run import Run
from tests.support import request


class SignalAt(Listener):
    """Sends this process a signal after the given steps, counted over the session."""

    def __init__(self, *steps: int, signum: int = signal.SIGINT) -> None:
        self._steps = steps
        self._signum = signum
        self.done = 0

    def step_done(self) -> None:
        self.done += 1
        if self.done in self._steps:
            os.kill(os.getpid(), self._signum)


def stopped(fit: Fit, step: int) -> Run:
    """The run of `fit`, stopped by Ctrl-C after this step."""
    with pytest.raises(Interrupted) as caught:
        fit.train(SignalAt(step))
    assert caught.value.exit_code == 130
    return fit.run


def resumed(run: Run, **changes: Any) -> Fit:
    """The run to be resumed as `era fit --resume` without other options does."""
    asked = dataclasses.replace(request(run.path.parent, source=None), given={}, **changes)
    return start.resume(run, asked, Listener())


def say_computed_by(run: Run, *, device: Any = None, versions: Any = None) -> None:
    """Puts other values into what the run's checkpoints say of the device and versions that computed them."""
    for path in run.checkpoints.iterdir():
        state = checkpoint.read(path)
        environment = state["callbacks"]["RunWriter"][continuity.KEY]
        environment["device"].update(device or {})
        environment["versions"].update(versions or {})
        path.unlink()  # two may be one file
        checkpoint.write(state, path)
