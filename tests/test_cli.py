"""What a shell sees: exit codes, stdout and stderr."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from era_cli import __version__
from era_cli.cli import EraGroup, app
from era_cli.errors import EraError, Interrupted, UsageError
from era_cli.signals import STOPPING

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _signals() -> Iterator[None]:
    """Gives pytest its signal handlers back after a command ran in this process."""
    handlers = {signum: signal.getsignal(signum) for signum in STOPPING}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def era(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "era_cli", *arguments], capture_output=True, text=True, encoding="utf-8", timeout=60
    )


def the_error(stderr: str) -> str:
    """The one error sentence on stderr; beside it only a hint at the usage may stand there."""
    assert "Traceback" not in stderr
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith(("Usage: ", "Try "))]
    assert len(lines) == 1, stderr
    assert lines[0].startswith("Error: "), stderr
    return lines[0].removeprefix("Error: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [("--help", "fit"), ("-h", "fit"), ("fit --help", "--epochs"), ("--version", f"era {__version__}\n")],
)
def test_help_and_version_end_with_0_and_write_to_stdout(arguments: str, says: str) -> None:
    done = era(*arguments.split())
    assert done.returncode == 0
    assert says in done.stdout
    assert done.stderr == ""


def test_era_alone_shows_its_help() -> None:
    done = era()
    assert done.returncode in (0, 2)
    assert "fit" in done.stdout
    assert "Error" not in done.stdout + done.stderr


def test_the_console_script_is_the_module() -> None:
    script = Path(sys.executable).with_name("era")
    if not script.exists():
        pytest.skip("era is not installed beside this Python")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"era {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("fit --no-such-option", "--no-such-option"),
        ("fit --batch-size nan", "--batch-size"),
        ("fit --epochs", "--epochs"),
        ("fit one-word-too-many", "one-word-too-many"),
        ("no-such-command", "no-such-command"),
        ("fit --epochs 0", "epochs is 0, but must be a whole number in [1, 10000] (--epochs)"),
        ("fit --max-lr -1", "max_lr is -1.0, but must be a number in (0, 100] (--max-lr)"),
        ("fit --recipe session11", "--recipe takes default, session12, session10"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_sentence(arguments: str, says: str, tmp_path: Path) -> None:
    done = era(*arguments.split())
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in the_error(done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--optimizer lion", "optimizer is 'lion', but must be one of sgd, adam (--optimizer)"),
        ("--max-lr nan", "max_lr is nan"),
        ("--max-lr inf", "max_lr is inf"),
        ("--batch-size 1", "(--batch-size)"),
        ("--dropout 1", "(--dropout)"),
        ("--flip -0.5", "(--flip)"),
        ("--seed -1", "(--seed)"),
        ("--val-size -1", "(--val-size)"),
        ("--image-size 7", "(--image-size)"),
        ("--precision 64", "one of auto, 32, bf16, 16 (--precision)"),
        ("--gpus 2", "--gpus 1"),
        ("--gpus many", "auto, 0 or 1"),
        ("--name ../elsewhere", "--name"),
        ("--name latest", "--name"),
        ("--data no/such/folder", "--data takes"),
        ("--data digits --val-size 1000000", "--val-size"),
        pytest.param("--gpus 1", "use --gpus 0", marks=no_gpu),
        pytest.param("--precision 16", "use bf16 or 32", marks=no_gpu),
    ],
)
@pytest.mark.usefixtures("_signals")
def test_what_fit_cannot_do_ends_with_2_and_names_the_option(arguments: str, says: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["fit", *arguments.split()])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert says in the_error(result.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_signals")
def test_what_fails_without_being_wrong_usage_ends_with_1(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["fit", "--resume", "nobody"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "'nobody'" in the_error(result.stderr)


def test_debug_shows_the_traceback_and_keeps_the_exit_code() -> None:
    done = era("fit", "--epochs", "0", "--debug")
    assert "Traceback (most recent call last)" in done.stderr
    assert "UsageError: epochs is 0" in done.stderr
    assert done.stdout == ""
    assert done.returncode == 2


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
        (
            PermissionError(13, "Permission denied", "/a/path"),
            1,
            "Error: /a/path: Permission denied; check the path and its permissions (--debug shows where)\n",
        ),
        (Interrupted(signal.SIGINT), 130, "Stopped by Ctrl-C.\n"),
        (Interrupted(signal.SIGTERM), 143, "Stopped by SIGTERM.\n"),
    ],
)
@pytest.mark.usefixtures("_signals")
def test_the_boundary_turns_what_is_known_into_a_line_and_a_code(error: BaseException, code: int, stderr: str) -> None:
    result = raising(error)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", stderr)


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), KeyError("x"), OSError("gone")])
@pytest.mark.usefixtures("_signals")
def test_the_boundary_lets_the_unexpected_through(error: Exception) -> None:
    result = raising(error)
    assert result.exception is error
    assert result.stderr == ""


CHILD = """
import sys, time
import typer
from era_cli.commands import options
from era_cli.cli import EraGroup

app = typer.Typer(cls=EraGroup, pretty_exceptions_enable=False)

@app.callback()
def root() -> None: ...

@app.command()
def nap(debug: options.Debug = False) -> None:
    print("asleep", flush=True)
    time.sleep(60)

@app.command()
def stumble() -> None:
    raise ValueError("a fault of ours")

app()
"""


def signalled(signum: signal.Signals, *options: str) -> tuple[int, str]:
    """Exit code and stderr of a sleeping command that gets the signal."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), "nap", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "asleep\n"
            child.send_signal(signum)
            out, err = child.communicate(timeout=20)
        finally:
            child.kill()
    assert out == ""
    return child.returncode, err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signals")
@pytest.mark.parametrize(("signum", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_command_with_its_code_and_one_line(signum: str, code: int) -> None:
    by = "Ctrl-C" if signum == "SIGINT" else signum
    assert signalled(signal.Signals[signum]) == (code, f"Stopped by {by}.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signals")
def test_debug_keeps_the_exit_code_of_a_signal() -> None:
    code, err = signalled(signal.SIGINT, "--debug")
    assert "Traceback" in err
    assert code == 130


def test_an_unexpected_error_shows_its_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), "stumble"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "ValueError: a fault of ours" in done.stderr
    assert "Error: a fault of ours" not in done.stderr.splitlines()
