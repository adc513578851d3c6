"""The whole network, killed and resumed; `make faults` does the same at every change of the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from era_cli.core.networks import checkpoint
from era_cli.listener import Listener
from era_cli.runs import artifacts
from era_cli.runs.run import Run
from tests.sessions import resumed
from tests.support import assert_equal_runs, environment

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
def test_kill_9_and_resume_equal_an_uninterrupted_run(tmp_path: Path, finished_run: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], env=environment(), capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    run = Run(tmp_path / "killed")
    assert run.read().status == "running"
    assert checkpoint.read(run.checkpoints / artifacts.LAST)["global_step"] == 8
    resumed(run).train(Listener())
    assert_equal_runs(run.path, finished_run)
