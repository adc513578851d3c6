"""What several tests share: a tiny request, a run document, rows, images, and `era` in this process and its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from era_cli.recipes import default, with_options
from era_cli.results import EpochRow, FitResult, StepRow
from era_cli.runs import artifacts, history, store
from era_cli.runs.document import (
    ClassCounts,
    DataRecord,
    DeviceRecord,
    RunDocument,
    SplitCounts,
    Versions,
)
from era_cli.runs.run import Run

ROOT = Path(__file__).parents[1]
ERA = [sys.executable, "-m", "era_cli"]
NARROW_ERA = [sys.executable, "-m", "tests.narrow_era"]
ESCAPE = "\x1b"

# Five steps an epoch on 8 px digits: a second or two a run of the whole network. Dropout is on, so
# that a resumed run has every random stream to get right.
TINY: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 32,
    "limit_train": 160,
    "image_size": 8,
    "dropout": 0.1,
    "precision": "fp32",
}
TINY_OPTIONS = ("--data=digits", "--image-size=8", "--batch-size=32", "--gpus=0", "--precision=fp32")


def heed_signals() -> None:
    """nohup and a script's `&` hand on ignored signals, which the commands under test would rightly go on ignoring."""
    for signum, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, handler)


# Runs


def request(runs_dir: Path, *, name: str | None = None, source: str | None = "digits", **fields: Any) -> Any:
    """What `era fit` asks the core for, with the tiny recipe and `fields` on top."""
    from era_cli.core.fit.request import FitRequest

    given = {**TINY, **fields}
    return FitRequest(
        recipe=with_options(default(), given),
        given=given,
        source=source,
        data_dir=None,
        strict=False,
        gpus="0",
        runs_dir=runs_dir,
        name=name,
        command=["era", "fit"],
    )


RESULT = FitResult(
    best_epoch=2,
    val_acc=0.75,
    val_loss=1.5,
    test_acc=0.875,
    test_loss=0.5,
    test_correct=70,
    test_count=80,
    test_total=80,
    seconds=3.5,
)


def run_document(**changes: Any) -> RunDocument:
    """run.json of a run of two classes: 175 training images in batches of 32, 40 for validation, 80 for testing."""
    document = RunDocument(
        name="digits-1",
        status="running",
        started="2026-01-01T00:00:00+00:00",
        ended=None,
        seconds=0.0,
        recipe=with_options(default(), {"batch_size": 32}),
        lr_find=None,
        seed=0,
        data=DataRecord(
            source="digits",
            data_dir=None,
            content_hash="0" * 64,
            image_size=32,
            classes=("even", "odd"),
            counts=SplitCounts(train=175, val=40, test=80),
            class_counts=ClassCounts(train=(100, 75), val=(20, 20), test=(40, 40)),
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            skipped=(),
        ),
        device=DeviceRecord(accelerator="cpu", name="a processor", precision="fp32", threads=2),
        versions=Versions(era="0.1.0", torch="2.14.1", lightning="2.6.6"),
        git_commit=None,
        command=("era", "fit"),
        sessions=(),
        result=None,
        error=None,
    )
    return dataclasses.replace(document, **changes)


def make_run(runs_dir: Path, name: str | None = None, source: str = "digits", **changes: Any) -> Run:
    """A run folder with this run.json and nothing else."""
    return store.create(runs_dir, name, source, lambda given: run_document(name=given, **changes))


def epoch_row(epoch: int, val_acc: float | None = 0.5, val_loss: float | None = 1.0, **changes: Any) -> EpochRow:
    """A row of metrics.csv."""
    row = EpochRow(
        epoch=epoch,
        train_loss=2.5,
        train_acc=0.25,
        val_loss=val_loss,
        val_acc=val_acc,
        lr=0.1,
        seconds=12.5,
        images_per_second=4000.0,
    )
    return dataclasses.replace(row, **changes)


def curve_run(runs_dir: Path, epochs: int, name: str | None = None, **changes: Any) -> Run:
    """A run with `epochs` of 24 epochs of 5 steps behind it, and 2 steps more; the second epoch is its best."""
    run = make_run(runs_dir, name, **changes)
    rows = [epoch_row(epoch, val_acc=0.75 if epoch == 2 else 0.5) for epoch in range(1, epochs + 1)]
    history.append(run.metrics_file, rows)
    steps = range(1, 5 * epochs + 3) if epochs else ()
    history.append(run.steps_file, [StepRow(step=step, lr=step / 8, loss=2.0) for step in steps])
    return run


def copied(run: Path, to: Path) -> Run:
    """A copy to be written to; its best checkpoint is a second name of the original and must be replaced whole."""
    shutil.copytree(run, to, ignore=shutil.ignore_patterns("*.ckpt"))
    best = Path(artifacts.CHECKPOINTS) / artifacts.BEST
    (to / best).hardlink_to(run / best)
    return Run(to)


def assert_equal_runs(resumed: Path, uninterrupted: Path) -> None:
    """Weights, optimizer and records are the same bit for bit; only the clock may differ."""
    from era_cli.core.networks import checkpoint

    one, other = Run(resumed), Run(uninterrupted)
    assert one.steps() == other.steps()
    timeless = [
        [dataclasses.replace(row, seconds=0, images_per_second=0) for row in run.epochs()] for run in (one, other)
    ]
    assert timeless[0] == timeless[1]
    for name in (artifacts.LAST, artifacts.BEST):
        left, right = (checkpoint.read(run.checkpoints / name) for run in (one, other))
        assert left["global_step"] == right["global_step"]
        assert_same(left["state_dict"], right["state_dict"])
        assert_same(left["optimizer_states"], right["optimizer_states"])
    results = [{**run.read().as_dict()["result"], "seconds": 0} for run in (one, other)]
    assert results[0] == results[1]


def assert_same(left: Any, right: Any) -> None:
    """Nested lists and dictionaries of tensors and numbers are equal."""
    import torch  # not needed by the processes that make runs

    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        assert left == right


# Images


def write_digit(path: Path, number: int) -> Path:
    """The digit of this number, 8 px, as an image file."""
    from era_cli.core.data import digits

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(digits.load(8).images[number].transpose(1, 2, 0)).save(path)
    return path


def digit_folder(root: Path, counts: dict[str, int]) -> Path:
    """A class folder with the first `counts` digits of each name."""
    from era_cli.core.data import digits

    labels = digits.load(8).labels
    for name, count in counts.items():
        for number in np.flatnonzero(labels == int(name))[:count]:
            write_digit(root / name / f"{number}.png", number)
    return root


# era in this process


def invoke(*arguments: str, code: int = 0, **changes: str) -> Result:
    """`era` in this process, which must end with `code`."""
    from era_cli.cli import app

    result = CliRunner().invoke(app, list(arguments), env=changes)
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.stderr
    return result


def as_json(*arguments: str) -> Any:
    """What `era` prints with --json."""
    return json.loads(invoke(*arguments, "--json").stdout)


def named_files(output: str) -> list[str]:
    """The files that a command names, those to open first."""
    opened = [line for line in output.splitlines() if Path(line).is_file()]
    others = [
        f"{folder}/{name}"
        for folder, names in re.findall(r"^also in (.*?): (.*)$", output, re.M)
        for name in names.split(", ")
    ]
    return opened + others


def the_error(result: Result) -> str:
    """The one sentence on stderr."""
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if line and not line.startswith(("Usage: ", "Try "))]
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


def too_wide(output: str, columns: int = 60) -> list[str]:
    """The lines that do not fit, paths and the next command aside."""
    unbroken = ("runs/", "Next: ")
    return [line for line in output.splitlines() if cell_len(line) > columns and not line.startswith(unbroken)]


def files(folder: Path) -> set[str]:
    """Every file below the folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# era as a process


def environment(**changes: str) -> dict[str, str]:
    """That of an `era` process: one thread, no terminal settings of the person."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **changes}


def era(
    *arguments: str, cwd: Path, program: Sequence[str] = NARROW_ERA, **changes: str
) -> subprocess.CompletedProcess[str]:
    """`era` as a process, to its end."""
    return subprocess.run(
        [*program, *arguments], cwd=cwd, capture_output=True, text=True, env=environment(**changes), timeout=120
    )


def start(cwd: Path, *arguments: str) -> subprocess.Popen[str]:
    """`era` as a process that the test can stop."""
    return subprocess.Popen(
        [*NARROW_ERA, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def on_a_terminal(cwd: Path, *arguments: str, **changes: str) -> str:
    """What a terminal 100 columns wide receives from `era`."""
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [*NARROW_ERA, *arguments],
        cwd=cwd,
        stdout=follower,
        stderr=follower,
        env=environment(TERM="xterm-256color", COLUMNS="100", LINES="50", **changes),
    )
    os.close(follower)
    screen = b""
    with contextlib.suppress(OSError):  # raised when the child closes the terminal
        while part := os.read(leader, 65536):
            screen += part
    os.close(leader)
    assert child.wait(timeout=60) == 0
    return screen.decode()
