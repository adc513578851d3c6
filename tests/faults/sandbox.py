"""A folder in which `era` may do its worst: forked off a process that has loaded everything, and watched."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import io
import json
import os
import pkgutil
import resource
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import typer
from PIL import Image

from era_cli.commands.deliver import File
from era_cli.files import atomic_write_text

MOST_SECONDS = 60
MOST_MEMORY = 1_000_000_000  # bytes resident
_MOST_MORE_ADDRESSES = 3_000_000_000  # bytes beyond those of the parent: protects the machine
_MOST_OUTPUT = 200_000  # bytes
FIT = (
    *("fit", "--data=digits", "--image-size=8", "--batch-size=32", "--limit-train=64", "--limit-val=10"),
    *("--limit-test=20", "--epochs=2", "--gpus=0", "--precision=fp32", "--quiet"),
)
BYSTANDER = "bystander"  # a run that no command is told to touch

Snapshot = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Outcome:
    """How a command ended: `code` is its exit code, negative for the signal that killed it."""

    code: int
    output: str
    seconds: float
    processor_seconds: float
    memory: int
    written: frozenset[str]


def load_everything() -> None:
    """Imports all of era and what it imports, so that a forked child need not. Runs no operation of torch."""
    import era_cli

    for module in pkgutil.walk_packages(era_cli.__path__, "era_cli."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("sklearn.datasets", "torch.utils.serialization", "fontTools.subset"):
        importlib.import_module(name)
    for name in ("agg", "svg", "pdf"):
        importlib.import_module(f"matplotlib.backends.backend_{name}")
    Image.init()
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        _command()(["fit", "--epochs", "none"])  # loads what Typer puts off
    gc.collect()
    gc.freeze()


class Sandbox:
    """A template of a person's folder, made once, and copies of it.

    In `work`, the working folder: runs/done is finished, runs/stopped was interrupted after the first of two epochs,
    runs/bystander is older than both; photos holds a class folder of two; and some odd files.
    """

    def __init__(self, folder: Path) -> None:
        self._template = folder / "template"
        self._place = folder / "place"
        self._output = folder / "output"
        self._make_template()

    @property
    def work(self) -> Path:
        """The working folder of the commands."""
        return self._place / "work"

    def _make_template(self) -> None:
        work = self._template / "work"
        for name in ("work/photos/0", "work/photos/1", "work/dir.png", "home", "cache", "tmp"):
            (self._template / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (40 * number, 99, 200)).save(work / "photos" / str(number % 2) / f"{number}.png")
        image = Image.radial_gradient("L").resize((16, 12))
        for suffix in ("png", "jpg", "gif", "bmp", "webp", "tiff"):
            image.save(work / f"photo.{suffix}")
        (work / "empty").touch()
        (work / "loop").symlink_to("loop")
        (work / "dangling").symlink_to("nowhere")
        os.mkfifo(work / "pipe")
        for setup in (_stopped, _finished):
            self._fresh()
            outcome = self._forked(setup)
            if outcome.code not in (0, 130):
                raise RuntimeError(f"the runs to be fuzzed were not made: {outcome.output}")
            shutil.rmtree(self._template)
            self._place.rename(self._template)

    def _fresh(self) -> None:
        """A copy of the template; the checkpoints are second names of its own and must be replaced whole."""

        def copy(source: str, target: str) -> None:
            if source.endswith(".ckpt"):
                os.link(source, target)
            elif Path(source).is_fifo():
                os.mkfifo(target)
            else:
                shutil.copyfile(source, target)

        shutil.rmtree(self._place, ignore_errors=True)
        shutil.copytree(self._template, self._place, symlinks=True, copy_function=copy)

    def run(self, prepare: Callable[[Path], None], arguments: tuple[str, ...], *, train: bool, draw: bool) -> Outcome:
        """`era` with these arguments in a forked child, on a fresh copy that `prepare` has changed.

        Args:
            train: whether a training may begin; else it is stopped where it would, as by Ctrl-C.
            draw: whether figures are drawn; else their files are empty, which is quicker.
        """
        self._fresh()
        prepare(self.work)
        return self._forked(lambda: _era(arguments, train=train, draw=draw))

    def _forked(self, body: Callable[[], None]) -> Outcome:
        before, began = snapshot(self._place), time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        if not (child := os.fork()):
            self._become(body)
        _, status, usage = os.wait4(child, 0)
        seconds = time.monotonic() - began
        after = snapshot(self._place)
        written = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        with self._output.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            output = file.read(_MOST_OUTPUT)
        return Outcome(
            code=os.waitstatus_to_exitcode(status),
            output=output,
            seconds=seconds,
            processor_seconds=usage.ru_utime + usage.ru_stime,
            memory=usage.ru_maxrss * 1024,
            written=frozenset(written),
        )

    def _become(self, body: Callable[[], None]) -> NoReturn:
        """Runs in the child, which never returns."""
        code = 99
        try:
            output = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
                os.dup2(descriptor, target)
            sys.stdin = open(0, closefd=False)  # noqa: SIM115
            sys.stdout = open(1, "w", closefd=False, errors="surrogateescape")  # noqa: SIM115
            sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
            addresses = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            for limit, most in (
                (resource.RLIMIT_AS, addresses + _MOST_MORE_ADDRESSES),
                (resource.RLIMIT_CPU, MOST_SECONDS),
                (resource.RLIMIT_CORE, 0),
                (resource.RLIMIT_FSIZE, MOST_MEMORY),
            ):
                resource.setrlimit(limit, (most, most))
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(MOST_SECONDS)
            os.chdir(self.work)
            place = self._place.resolve()
            os.environ.update(
                HOME=str(place / "home"), XDG_CACHE_HOME=str(place / "cache"), TMPDIR=str(place / "tmp"), COLUMNS="100"
            )
            body()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 98
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def snapshot(folder: Path) -> Snapshot:
    """What lies below the folder, by path: kind, size, time of change and inode of files, the kind alone of folders."""
    found: Snapshot = {}
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                state = entry.stat(follow_symlinks=False)
                name = os.path.relpath(entry.path, folder)
                if entry.is_dir(follow_symlinks=False):
                    found[name] = (state.st_mode,)
                    waiting.append(entry.path)
                else:
                    found[name] = (state.st_mode, state.st_size, state.st_mtime_ns, state.st_ino)
    return found


@functools.cache
def _command() -> Any:
    """The app as Typer makes it of the commands, which takes as long as most wrong usage."""
    from era_cli.cli import app

    return typer.main.get_command(app)


# In the child


def _era(arguments: tuple[str, ...], *, train: bool, draw: bool) -> None:
    import torch

    from era_cli.commands import deliver
    from era_cli.commands import fit as fit_command
    from era_cli.core.training import trainer
    from era_cli.reports import style

    torch.set_num_threads(1)
    style.DPI = 20  # quicker to draw
    _no_network()
    if not train:
        trainer.run = _stop
    if not draw:
        deliver.figure = _undrawn
        for name in ("_draw_curves", "_draw_plan"):
            setattr(fit_command, name, lambda *given: None)
    sys.argv = ["era", *arguments]
    _command()(list(arguments), prog_name="era")


def _undrawn(path: Path, draw: Callable[[], Any]) -> File:
    return File(path, lambda path, _: atomic_write_text(path, ""), drawn=True)


def _stop(*given: Any, **options: Any) -> NoReturn:
    from era_cli.errors import Interrupted

    raise Interrupted(signal.SIGINT)


def _no_network() -> None:
    def refuse(*given: Any, **options: Any) -> NoReturn:
        raise OSError("there is no network here")

    for name in ("getaddrinfo", "create_connection"):
        setattr(socket, name, refuse)


def _stopped() -> None:
    """runs/stopped was interrupted after its first epoch; runs/bystander is the same, begun a year earlier."""
    from era_cli.console.fit import FitProgress

    FitProgress.epoch_ended = lambda self, *given: os.kill(os.getpid(), signal.SIGINT)  # type: ignore[method-assign]
    try:
        _era((*FIT, "--name", "stopped"), train=True, draw=False)
    finally:
        shutil.copytree("runs/stopped", Path("runs") / BYSTANDER)
        document = Path("runs") / BYSTANDER / "run.json"
        year = json.loads(document.read_text())["started"][:4]
        document.write_text(document.read_text().replace(f'"{year}-', f'"{int(year) - 1}-'))


def _finished() -> None:
    """runs/done is runs/stopped, resumed; its checkpoints hold no optimizer, to be read faster."""
    from era_cli.core.networks import checkpoint

    shutil.copytree("runs/stopped", "runs/done")
    try:
        _era(("fit", "--resume", "done", "--quiet"), train=True, draw=False)
    finally:
        folder = Path("runs/done/checkpoints")
        for file in folder.iterdir():
            state = checkpoint.read(file)
            checkpoint.write({name: state[name] for name in ("state_dict", "global_step")}, file)
