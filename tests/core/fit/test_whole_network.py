"""What the whole network shows; the other tests of training train the narrow one, and so does `make faults`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from era_cli.core.fit import start
from era_cli.core.networks import checkpoint
from era_cli.listener import Listener
from era_cli.runs import artifacts
from era_cli.runs.run import Run
from tests.sessions import resumed
from tests.support import assert_equal_runs, environment, request

pytestmark = pytest.mark.usefixtures("whole_network")

KILLED = """
import os, sys
from pathlib import Path
import torch
from era_cli.core.fit import run_writer, start
from era_cli.listener import Listener
from tests.support import request

class Kill(Listener):
    done = 0
    def step_done(self):
        self.done += 1
        if self.done == 9:
            os.kill(os.getpid(), 9)

torch.set_num_threads(1)
run_writer.RunWriter.__init__.__kwdefaults__["save_every"] = 0.0
start.prepare(request(Path(sys.argv[1]), name="killed"), Listener()).train(Kill())
"""


@pytest.mark.skipif(os.name != "posix", reason="needs kill -9")
def test_kill_9_and_resume_equal_an_uninterrupted_run(tmp_path: Path, fit_digits: Callable[..., Any]) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], env=environment(), capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    run = Run(tmp_path / "killed")
    assert run.read().status == "running"
    assert checkpoint.read(run.checkpoints / artifacts.LAST)["global_step"] == 8
    resumed(run).train(Listener())
    undisturbed = fit_digits()
    undisturbed.train(Listener())
    assert_equal_runs(run.path, undisturbed.run.path)


def test_it_learns_and_lightning_says_nothing(
    fit_digits: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    fit = fit_digits(epochs=3, limit_train=640, dropout=0.0, flip=0.0)
    assert fit.train(Listener()).test_acc > 0.9  # a network that guesses has 0.1
    assert capfd.readouterr() == ("", "")


@pytest.mark.cifar10
def test_cifar10_trains_end_to_end(cifar10_dir: Path, tmp_path: Path) -> None:
    tiny = request(
        tmp_path, source="cifar10", limit_train=2000, val_size=500, epochs=5, image_size=16, limit_test=1_000
    )
    fit = start.prepare(replace(tiny, data_dir=cifar10_dir), Listener())
    assert [int(count.sum()) for count in fit.plan().class_counts.values()] == [2000, 500, 1000]
    assert fit.train(Listener()).test_acc > 0.3  # a network that guesses has 0.1
