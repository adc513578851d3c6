"""A folder in which `era` may do its worst: forked off a process that has loaded everything, and watched."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
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
_TO_KIB = 1 if sys.platform != "darwin" else 1024  # the unit of the most memory that a process had
OUTSIDE = "outside the sandbox: "
_NOWHERE = ("/dev/null", "/dev/zero", "/dev/full")  # not files, and nothing can be made below them
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


class Sandbox:
    """A template of a person's folder, made once, and copies of it.

    In `work`, the working folder: runs/done is finished, runs/stopped was interrupted after the first of two epochs,
    runs/bystander is older than both; photos holds a class folder of two; and some odd files.
    """

    def __init__(self, folder: Path) -> None:
        self._template = folder / "template"
        self._place = folder / "place"
        self._output = folder / "output"
        self._clean: Snapshot = {}
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
        """Makes the place a copy of the template: of what the last command left, only what differs is replaced."""
        now = snapshot(self._place) if self._place.exists() else {}
        try:
            self._replace(now)
        except OSError:
            shutil.rmtree(self._place, ignore_errors=True)
            self._replace({})
        self._clean = snapshot(self._place)

    def _replace(self, now: Snapshot) -> None:
        if not now:
            shutil.copytree(self._template, self._place, symlinks=True, copy_function=_copy)
            return
        changed = {name for name in now.keys() | self._clean.keys() if now.get(name) != self._clean.get(name)}
        for name in sorted(changed & now.keys(), reverse=True):  # what is in a folder comes before it
            path = self._place / name
            path.rmdir() if stat.S_ISDIR(now[name][0]) else path.unlink()
        for name in sorted(changed & self._clean.keys()):
            source, target = self._template / name, self._place / name
            if source.is_symlink():
                target.symlink_to(source.readlink())
            elif source.is_dir():
                target.mkdir()
                shutil.copystat(source, target)
            else:
                _copy(str(source), str(target))

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
            memory=usage.ru_maxrss * 1024 // _TO_KIB,
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
            _limit()
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(MOST_SECONDS)
            os.chdir(self.work)
            place = self._place.resolve()
            os.environ.update(
                HOME=str(place / "home"), XDG_CACHE_HOME=str(place / "cache"), TMPDIR=str(place / "tmp"), COLUMNS="100"
            )
            tempfile.tempdir = None  # it was looked up in the parent
            sys.addaudithook(functools.partial(tell_of_changes_elsewhere, f"{place}{os.sep}"))
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


def _copy(source: str, target: str) -> None:
    """A copy with the same times, so that it changes when it is written to; checkpoints must be replaced whole."""
    if source.endswith(".ckpt"):
        os.link(source, target)
    elif Path(source).is_fifo():
        os.mkfifo(target)
        shutil.copystat(source, target)
    else:
        shutil.copy2(source, target)


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


def prepare_commands() -> None:
    """Loads what Typer puts off until the first command."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        _command()(["fit", "--epochs", "none"])


# In the child


def _limit() -> None:
    import resource  # there is none on Windows, where nothing is forked

    limits = [(resource.RLIMIT_CPU, MOST_SECONDS), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, MOST_MEMORY)]
    if sys.platform == "linux":
        addresses = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limits.append((resource.RLIMIT_AS, addresses + _MOST_MORE_ADDRESSES))
    for limit, most in limits:
        resource.setrlimit(limit, (most, most))


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = ("mkdir", "rename", "remove", "rmdir", "link", "symlink", "truncate", "chmod", "chown", "utime")


def tell_of_changes_elsewhere(place: str, event: str, given: tuple[Any, ...]) -> None:
    """Tells on stderr of a change to the disk that Python is about to make elsewhere than below `place`."""
    if event == "open":
        paths = given[:1] if isinstance(given[2], int) and given[2] & _WRITING else ()
    elif event.startswith("os.") and event[3:] in _CHANGES:
        paths = given[:2] if event in ("os.rename", "os.link") else given[1:2] if event == "os.symlink" else given[:1]
        if isinstance(given[-1], int) and given[-1] >= 0 and event in ("os.remove", "os.rmdir"):
            return  # relative to a folder that was itself opened by its path
    else:
        return
    for path in paths:
        if isinstance(path, str | bytes | os.PathLike):
            name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
            real = os.path.realpath(os.path.dirname(name)) + os.sep  # noqa: PTH120
            if not real.startswith(place) and not name.startswith(_NOWHERE):
                os.write(2, f"\n{OUTSIDE}{event} {name!a}\n".encode())


def _era(arguments: tuple[str, ...], *, train: bool, draw: bool) -> None:
    import torch

    from era_cli.commands import deliver
    from era_cli.commands import fit as fit_command
    from era_cli.core.training import trainer

    torch.set_num_threads(1)
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
    """runs/done is runs/stopped, resumed."""
    shutil.copytree("runs/stopped", "runs/done")
    _era(("fit", "--resume", "done", "--quiet"), train=True, draw=False)
