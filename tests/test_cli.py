"""What a shell sees: exit codes, stdout and stderr."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from era_cli import __version__
from era_cli.cli import EraGroup
from era_cli.errors import EraError, Interrupted, UsageError
from tests.support import ERA, copied, era, invoke, the_error

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [("-h", "fit"), ("fit --help", "--epochs"), ("--version", f"era {__version__}\n"), ("", "fit")],
)
def test_help_and_version_go_to_stdout(arguments: str, says: str, tmp_path: Path) -> None:
    done = era(*arguments.split(), cwd=tmp_path, program=ERA)
    assert done.returncode == 0 or not arguments
    assert says in done.stdout
    assert done.stderr == ""


def test_the_console_script_is_the_module() -> None:
    script = Path(sys.executable).with_name("era")
    if not script.exists():
        pytest.skip("era is not installed beside this Python")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"era {__version__}\n")


def test_debug_shows_the_traceback_and_keeps_the_code(tmp_path: Path) -> None:
    done = era("fit", "--epochs", "0", "--debug", cwd=tmp_path, program=ERA)
    assert "Traceback (most recent call last)" in done.stderr
    assert "UsageError: epochs is 0" in done.stderr
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("no-such-command", "no-such-command"),
        ("fit --no-such-option", "--no-such-option"),
        ("fit --epochs", "--epochs"),
        ("fit one-word-too-many", "(one-word-too-many): options begin with --"),
        ("eval cifar10-1", "a run is named with --run"),
        ("fit --batch-size nan", "--batch-size"),
        ("fit --batch-size 1", "(--batch-size)"),
        ("fit --epochs 0", "epochs is 0, but must be a whole number in [1, 10000] (--epochs)"),
        ("fit --max-lr -1", "max_lr is -1.0, but must be a number in (0, 100] (--max-lr)"),
        ("fit --max-lr inf", "max_lr is inf"),
        ("fit --recipe session11", "--recipe takes default, fast, session12, session10"),
        ("fit --optimizer lion", "optimizer is 'lion', but must be one of sgd, adam, muon (--optimizer)"),
        ("fit --network vit", "network is 'vit', but must be one of resnet, fastnet (--network)"),
        ("fit --warmup 1", "warmup is 1.0, but must be a number in (0, 1) (--warmup)"),
        ("fit --seed -1", "(--seed)"),
        ("fit --precision 64", "one of auto, fp32, bf16, fp16 (--precision)"),
        pytest.param("fit --gpus 2", "needs 2 GPUs, and torch finds none", marks=no_gpu),
        ("fit --gpus many", "auto, all, or a number"),
        ("eval --gpus 2", "only fit uses more than one"),
        ("fit --gpus 2 --cpu-procs 2", "use one of them"),
        ("fit --cpu-procs 3 --batch-size 32", "use 30 or 33"),
        ("fit --cpu-procs 2 --nodes 2", "MASTER_ADDR"),
        ("fit --cpu-procs 2 --sync-batchnorm", "works on GPUs only"),
        ("fit --strategy fsdp", "but must be ddp"),
        ("fit --name ../elsewhere", "--name"),
        ("fit --data no/such/folder", "--data takes"),
        ("fit --data digits --val-size 1000000", "--val-size"),
        pytest.param("fit --gpus 1", "use --gpus 0", marks=no_gpu),
        pytest.param("fit --precision 16", "use bf16 or fp32", marks=no_gpu),
    ],
)
def test_wrong_usage_exits_with_2_and_one_sentence(arguments: str, says: str, tmp_path: Path) -> None:
    assert says in the_error(invoke(*arguments.split(), code=2))
    assert list(tmp_path.iterdir()) == []


def test_other_failures_exit_with_1() -> None:
    assert "'nobody'" in the_error(invoke("fit", "--resume", "nobody", code=1))


@pytest.mark.parametrize("option", ["gradcam --image", "eval --checkpoint"])
def test_what_was_typed_reaches_no_terminal_as_a_control(option: str, finished_run: Path, tmp_path: Path) -> None:
    copied(finished_run, tmp_path / "runs" / "mine")
    said = the_error(invoke(*option.split(), "\x1b[2J\x07", code=2 if "image" in option else 1))
    assert "\ufffd[2J\ufffd" in said


def test_a_traceback_is_bounded_and_has_no_controls_either(tmp_path: Path) -> None:
    done = era("eval", "--runs-dir", "\x1b[2J" + "x " * 50_000, "--debug", cwd=tmp_path, program=ERA)
    assert "Traceback (most recent call last)" in done.stderr
    assert "\x1b" not in done.stderr
    assert max(map(len, done.stderr.splitlines())) <= 5_000


def raising(error: BaseException) -> Result:
    """How a command that raises `error` ends."""
    small = typer.Typer(cls=EraGroup, pretty_exceptions_enable=False)

    @small.callback()
    def root() -> None: ...

    @small.command()
    def work() -> None:
        raise error

    return CliRunner().invoke(small, ["work"])


@pytest.mark.parametrize(
    ("error", "code", "stderr"),
    [
        (EraError("the disk is full: make room"), 1, "Error: the disk is full: make room\n"),
        (UsageError("[/] is no name"), 2, "Error: [/] is no name\n"),
        (EraError("a\x1b[2J\x07\nb"), 1, "Error: a\ufffd[2J\ufffd b\n"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "/a/path"),
            1,
            "Error: /a/path: File name too long; use a shorter name (--debug shows where)\n",
        ),
        (
            PermissionError(13, "Permission denied", "/a/path"),
            1,
            "Error: /a/path: Permission denied; check the path and its permissions (--debug shows where)\n",
        ),
        (Interrupted(signal.SIGINT), 130, "Stopped by Ctrl-C.\n"),
    ],
)
def test_known_errors_become_a_line_and_a_code(error: BaseException, code: int, stderr: str) -> None:
    result = raising(error)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", stderr)


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), KeyError("x"), OSError("gone")])
def test_the_unexpected_is_let_through(error: Exception) -> None:
    result = raising(error)
    assert result.exception is error
    assert result.stderr == ""


CHILD = """
import time
import typer
from era_cli.cli import EraGroup

app = typer.Typer(cls=EraGroup, pretty_exceptions_enable=False)

@app.callback()
def root() -> None: ...

@app.command()
def nap() -> None:
    print("asleep", flush=True)
    time.sleep(60)

app()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signals")
@pytest.mark.parametrize(
    ("signum", "code", "by"), [("SIGINT", 130, "Ctrl-C"), ("SIGTERM", 143, "SIGTERM"), ("SIGHUP", 129, "SIGHUP")]
)
def test_a_signal_ends_a_command_with_its_code(signum: str, code: int, by: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, "nap"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "asleep\n"
            child.send_signal(signal.Signals[signum])
            out, err = child.communicate(timeout=20)
        finally:
            child.kill()
    assert (child.returncode, out, err) == (code, "", f"Stopped by {by}.\n")
