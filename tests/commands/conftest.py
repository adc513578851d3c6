"""What the tests of the commands share: a working folder of their own and a run that they may write to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from era_cli.reports import style
from era_cli.runs import artifacts
from era_cli.runs.run import Run
from tests.support import copied


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(style, "DPI", 40)  # quicker to write


@pytest.fixture(scope="session")
def light_run(accurate_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The accurate run with a checkpoint that holds no optimizer, which is read faster; not to be written to."""
    return _light(accurate_run, tmp_path_factory.mktemp("light") / "run")


def _light(finished: Path, path: Path) -> Path:
    from era_cli.core.evaluation import predictions, trained_run
    from era_cli.core.networks import checkpoint
    from era_cli.listener import Listener

    shutil.copytree(finished, path, ignore=shutil.ignore_patterns("*.ckpt"))
    state = checkpoint.read(finished / artifacts.CHECKPOINTS / artifacts.BEST)
    light = {name: state[name] for name in ("state_dict", "global_step")}
    checkpoint.write(light, path / artifacts.CHECKPOINTS / artifacts.BEST)
    opened = trained_run.TrainedRun(Run(path), path / artifacts.CHECKPOINTS / artifacts.BEST, torch.device("cpu"))
    predictions.load_or_compute(opened, opened.subset("test", None, Listener()), "none", Listener())
    return path


@pytest.fixture(scope="session")
def other_light_run(other_accurate_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the other accurate run."""
    return _light(other_accurate_run, tmp_path_factory.mktemp("light") / "run")


@pytest.fixture
def run(light_run: Path, tmp_path: Path) -> Run:
    """A finished run as runs/mine in the working folder."""
    return copied(light_run, tmp_path / "runs" / "mine")


@pytest.fixture
def other(other_light_run: Path, tmp_path: Path) -> Run:
    """Another run on the same images as runs/other."""
    return copied(other_light_run, tmp_path / "runs" / "other")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, while they are."""
    figures: list[Figure] = []
    save = style.save

    def keeping(figure: Figure, path: Path) -> None:
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(style, "save", keeping)
    return figures
