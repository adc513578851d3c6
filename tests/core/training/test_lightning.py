"""Lightning without what era does not use of it, in fresh interpreters: this one has loaded everything long since."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support import TINY_OPTIONS, environment

# What would take as long to load as torch and Lightning together.
LEFT_OUT = ("torchmetrics", "torchvision", "torch._dynamo", "scipy", "sklearn", "matplotlib.pyplot")


def output_of(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120, env=environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_training_loads_nothing_that_it_does_not_use_and_all_can_be_imported_afterwards(tmp_path: Path) -> None:
    program = f"""
import sys
import tests.narrow_era
from era_cli.cli import app
try:
    app(["fit", "--epochs=1", "--limit-train=200", "--limit-test=20", *{TINY_OPTIONS}])
except SystemExit as end:
    code = end.code
loaded = [name for name in {LEFT_OUT} if name in sys.modules]
import torch, torchmetrics
network = torch.nn.Linear(2, 2)
network.compile(backend="eager")
print(code, loaded, network(torch.ones(1, 2)).shape == (1, 2), torchmetrics.Metric.__module__)
"""
    assert output_of(program, tmp_path) == "0 [] True torchmetrics.metric"


def test_a_lightning_that_needs_what_was_left_out_gets_it(tmp_path: Path) -> None:
    program = """
import sys
class Demanding:
    def find_spec(self, name, path, target=None):
        if name == "lightning.pytorch.core" and not hasattr(sys.modules["torchmetrics"], "MeanMetric"):
            raise TypeError("this Lightning needs all of torchmetrics")
sys.meta_path.insert(0, Demanding())
from era_cli.core.training.lightning import L
print(L.LightningModule.__module__, hasattr(sys.modules["torchmetrics"], "MeanMetric"))
"""
    assert output_of(program, tmp_path) == "lightning.pytorch.core.module True"
