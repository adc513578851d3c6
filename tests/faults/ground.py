"""What the cases stand on: finished and interrupted runs made once, `era` as a process, and what must hold after it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import pty
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from era_cli.files import TEMPORARY_SUFFIX
from era_cli.results import EpochRow, StepRow
from era_cli.runs import artifacts, history
from era_cli.runs.run import Run
from tests.faults.child import STRUCK, Changes
from tests.faults.outcome import assert_equal_files
from tests.support import TINY_OPTIONS, digit_folder, environment, files

ROOT = Path(__file__).parents[2]
IN_TIME = 10.0  # seconds from a signal to the end of the process
RUN = "mine"
PHOTOS = "photos"
# Two epochs of five steps of the real network, with dropout: a resumed run has every random stream to get right.
SHORT = (*TINY_OPTIONS, "--limit-train=160", "--epochs=2", "--dropout=0.1")
FIT = ("fit", *SHORT, f"--name={RUN}")
RESUME = ("fit", f"--resume={RUN}", "--gpus=0")

NOTHING = Changes()

_making = threading.RLock()


@dataclass(frozen=True)
class Done:
    """How a process ended; `seconds` since its signal, or since it began where none was sent."""

    code: int
    out: str
    err: str
    seconds: float


def place(folder: Path) -> dict[str, str]:
    """The environment of an `era` that keeps to `folder`: its cache, its temporary files and its home."""
    for name in ("cache", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    here = {"XDG_CACHE_HOME": str(folder / "cache"), "TMPDIR": str(folder / "tmp"), "HOME": str(folder)}
    here["MPLCONFIGDIR"] = str(made("fonts"))  # Matplotlib looks for fonts for seconds where it has not kept them
    return environment(no_proxy="*", **here)


def started(
    folder: Path,
    *arguments: str,
    changes: Changes = NOTHING,
    within: str = "",
    env: Mapping[str, str | None] | None = None,
) -> subprocess.Popen[str]:
    """`era` in `folder` as a process.

    Args:
        changes: what differs in the child.
        within: a line of bash that runs the command, as "$@".
        env: changes to its environment; None removes a variable.
    """
    command = changes.command(*arguments)
    if within:
        command = ["bash", "-o", "pipefail", "-c", within, "bash", *command]
    whole = {**place(folder), "PYTHONUNBUFFERED": None, STRUCK: str(folder / "tmp" / "struck"), **(env or {})}
    return subprocess.Popen(
        command,
        cwd=folder,
        text=True,
        errors="replace",
        env={name: value for name, value in whole.items() if value is not None},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def era(folder: Path, *arguments: str, **options: Any) -> Done:
    """`era` in `folder` as a process, to its end; `options` are those of `started`."""
    struck = folder / "tmp" / "struck"
    began = time.time()
    with started(folder, *arguments, **options) as child:
        try:
            out, err = child.communicate(timeout=240)
        except BaseException:
            child.kill()
            raise
    ended = time.time()
    if struck.exists():
        began = float(struck.read_text())
        struck.unlink()
    return Done(child.returncode, out or "", err or "", ended - began)


@functools.cache
def _made(what: str) -> Path:
    home = Path(tempfile.mkdtemp(prefix="era-ground-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    if what == "fonts":
        look = [sys.executable, "-c", "import matplotlib.font_manager"]
        subprocess.run(look, env={**os.environ, "MPLCONFIGDIR": str(home)}, check=True)
    if what == "photos":
        digit_folder(home / PHOTOS, {"1": 60, "7": 60})
    if what == "finished":
        assert_ended(era(home, *FIT))
    if what == "interrupted":
        strikes = Changes(strikes=[(15, "era_cli.core.training.module:Classifier.training_step", 8)])
        assert_ended(era(home, *FIT, changes=strikes), 143)
    if what == "photo-run":
        shutil.copytree(photos(), home / PHOTOS)
        assert_ended(era(home, *PHOTO_FIT))
    return home


PHOTO_FIT = ("fit", *SHORT, f"--name={RUN}", f"--data={PHOTOS}", "--limit-train=64", "--batch-size=16")


def made(what: str) -> Path:
    """A folder made once: of `photos`, of `fonts`, or with a run that is `finished`, `interrupted` or a `photo-run`."""
    with _making:
        return _made(what)


def photos() -> Path:
    """A folder of two class folders of 60 digits each."""
    return made("photos") / PHOTOS


def finished() -> Path:
    """The uninterrupted run; not to be written to."""
    return made("finished") / "runs" / RUN


def bring(what: str, folder: Path, name: str = RUN) -> Run:
    """A copy of the run that is `finished` or `interrupted`, under the `runs` of `folder`."""
    source, target = made(what) / "runs" / RUN, folder / "runs" / name
    # Checkpoints are replaced, never written to: a second name of each is a copy.
    shutil.copytree(source, target, copy_function=_second_name)
    return Run(target)


def _second_name(source: str, target: str) -> None:
    if source.endswith(".ckpt"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def assert_ended(done: Done, *codes: int) -> None:
    """It ended with one of `codes`, 0 by default, and without a traceback."""
    assert done.code in (codes or (0,)), (done.code, done.err[-3000:])
    for word in ("Traceback", "Exception ignored", "Fatal Python error"):
        assert word not in done.err, done.err[-3000:]


COMPILER = "torchinductor_"  # an empty folder that torch makes when it loads its compiler, which grad-cam needs


def assert_refused(done: Done, *says: str, codes: Sequence[int] = (1,)) -> None:
    """It ended with one sentence on stderr that says all of `says`."""
    assert_ended(done, *codes)
    errors = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, done.err[-3000:]
    for word in says:
        assert word in errors[0], errors[0]


def assert_whole(folder: Path) -> None:
    """Every file that a command may have written is complete, and nothing temporary is left."""
    from era_cli.core.networks import checkpoint

    left = [path for path in (folder / "tmp").glob("*") if not path.name.startswith(COMPILER) or any(path.iterdir())]
    assert not left, left
    for path in folder.rglob("*"):
        if PHOTOS in path.relative_to(folder).parts:
            continue
        assert not path.name.endswith(TEMPORARY_SUFFIX), path
        assert not path.name.startswith((".building-", ".era-")), path
        assert not (path.name.endswith((".new", ".replaced")) and path.name.startswith(".")), path
        if not path.is_file():
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
        elif path.suffix == ".ckpt":
            checkpoint.read(path)
    for document in folder.glob("runs/*/" + artifacts.DOCUMENT):
        run = Run(document.parent)
        run.read()
        if run.metrics_file.exists():
            history.read(run.metrics_file, EpochRow)
        if run.steps_file.exists():
            history.read(run.steps_file, StepRow)


def assert_ended_alike(run: Path, wanted: Path, *may_lack: str) -> None:
    """The run is the same as `wanted`, but for its times and what it saved when it was stopped (previous.ckpt)."""
    previous = f"{artifacts.CHECKPOINTS}/{artifacts.PREVIOUS}"
    had, expected = (files(folder) - {artifacts.LOCK} for folder in (run, wanted))
    assert expected - set(may_lack) <= had <= expected, (sorted(had), sorted(expected))
    for name in had - {previous}:
        assert_equal_files(run / name, wanted / name)


def assert_unharmed(run: Path, *lacking: str) -> None:
    """All that training wrote to the finished run is as it was; files that were `lacking` may lack, or be the same."""
    for name in files(finished()) - {artifacts.LOCK}:
        if name not in lacking or (run / name).exists():
            assert_equal_files(run / name, finished() / name)


def finish(folder: Path) -> None:
    """Resumes the run, or starts it again where nothing was saved, and compares; nothing, if it was not yet made."""
    run = Run(folder / "runs" / RUN)
    if not run.path.exists():
        return
    lacking = []
    if not run.document_file.exists():  # its folder counts as not made
        assert_ended(era(folder, *FIT))
    elif run.read().status == "finished":
        lacking = ["curves.png"]  # plot-curves draws it at any time
    else:
        saved = list(run.checkpoints.glob("*.ckpt"))
        assert_ended(era(folder, *(RESUME if saved else (*FIT, "--overwrite"))))
    assert_ended_alike(run.path, finished(), *lacking)


def on_a_terminal(folder: Path, typed: bytes, *arguments: str, changes: Changes = NOTHING) -> Done:
    """`era` as the process that a terminal controls; `out` is all that the terminal received.

    Args:
        typed: what is typed as soon as the process waits (PAUSE).
    """
    leader, follower = pty.openpty()
    whole = {**place(folder), STRUCK: str(folder / "tmp" / "struck"), "TERM": "xterm-256color", "COLUMNS": "100"}
    child = subprocess.Popen(
        changes.command(*arguments),
        cwd=folder,
        env=whole,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # the first terminal that it opens is its own
    )
    os.close(follower)
    screen: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # raised when the child closes the terminal
            while part := os.read(leader, 65_536):
                screen.append(part)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        wait_for_strike(folder, child)
        began = time.monotonic()
        os.write(leader, typed)
        code = child.wait(timeout=60)
        seconds = time.monotonic() - began
    finally:
        child.kill()
        reading.join()
        os.close(leader)
    return Done(code, b"".join(screen).decode(errors="replace"), "", seconds)


def wait_for_strike(folder: Path, child: subprocess.Popen[Any]) -> None:
    """Returns when the process has sent itself a signal, or waits for one."""
    struck = folder / "tmp" / "struck"
    while not struck.exists():
        assert child.poll() is None, f"it ended before, with {child.returncode}"
        time.sleep(0.01)
    struck.unlink()
