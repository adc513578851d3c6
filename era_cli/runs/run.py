"""One run folder: its paths, its lock and its contents. Loads no torch."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shlex
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from era_cli.errors import EraError
from era_cli.files import expanded
from era_cli.regular_file import read_regular
from era_cli.results import Curves, EpochRow, StepRow
from era_cli.runs import artifacts, best_epoch, document, history
from era_cli.runs.artifacts import Artifact
from era_cli.runs.document import RunDocument
from era_cli.text import plural

if sys.platform != "win32":
    import fcntl

_PNG = b"\x89PNG\r\n\x1a\n"  # its first bytes
RUNS_DIR = Path("runs")  # where runs are looked for unless --runs-dir says otherwise
_PATIENCE = 0.2  # seconds: who only asks whether a run is in use holds its lock for a moment


class Run:
    """One run folder.

    `replaces` is the folder of the run whose place this one takes after its first step (see replacement.py), else None.
    """

    def __init__(self, path: Path, replaces: Path | None = None) -> None:
        self.path = path
        self.replaces = replaces

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def resume_command(self) -> str:
        """The command that resumes the run, to be copied in this working folder."""
        return shlex.join(["era", "fit", "--resume", self.name if self.path.parent == RUNS_DIR else str(self.path)])

    @property
    def document_file(self) -> Path:
        """Everything about the run except its curves and weights."""
        return self.path / artifacts.DOCUMENT

    @property
    def metrics_file(self) -> Path:
        """One row per epoch."""
        return self.path / artifacts.METRICS

    @property
    def steps_file(self) -> Path:
        """One row per optimizer step."""
        return self.path / artifacts.STEPS

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / artifacts.CHECKPOINTS

    def read(self) -> RunDocument:
        """The content of run.json.

        Raises:
            EraError: it is absent or damaged.
        """
        return document.read(self.document_file)

    def update(self, **changes: Any) -> RunDocument:
        """Replaces the given fields of run.json; returns what it holds then."""
        changed = dataclasses.replace(self.read(), **changes)
        document.write(self.document_file, changed)
        return changed

    def checkpoint_file(self, which: str | None, document: RunDocument | None = None) -> Path:
        """The checkpoint `best`, `last`, or at the path `which`; None is the best of a finished run.

        Args:
            document: what run.json holds, if it has been read.

        Raises:
            EraError: the run has not finished and no checkpoint was named; there is no such checkpoint; it belongs to
                another run.
        """
        document = document or self.read()
        if which is None and document.status != "finished":
            done, epochs = len(self.epochs()), plural(document.recipe.epochs, "epoch")
            what = f"{self.path} is not finished (status {document.status}, {done} of {epochs})"
            if not any(self.checkpoints.glob("*.ckpt")):
                raise EraError(f"{what} and has no checkpoint yet: {artifacts.how_to_get_one(self.name)}")
            raise EraError(
                f"{what}: resume it ({self.resume_command}), or evaluate it as it is with --checkpoint best or last"
            )
        own = {None: artifacts.BEST, "best": artifacts.BEST, "last": artifacts.LAST}
        path = self.checkpoints / own[which] if which in own else expanded(Path(str(which)))
        if not path.is_file():
            raise EraError(f"there is no checkpoint {path}: --checkpoint takes best, last or the path of one")
        home = path.resolve().parent.parent
        if (home / artifacts.DOCUMENT).is_file() and home != self.path.resolve():
            raise EraError(f"{path} is a checkpoint of another run: name that run with --run {home}")
        return path

    def epochs(self) -> list[EpochRow]:
        """The rows of metrics.csv."""
        return history.read(self.metrics_file, EpochRow)

    def steps(self) -> list[StepRow]:
        """The rows of steps.csv."""
        return history.read(self.steps_file, StepRow)

    def curves(self) -> Curves:
        """The valid rows of metrics.csv and steps.csv.

        Raises:
            EraError: run.json is absent or damaged.
        """
        about = self.read()
        epochs, epochs_left_out = history.salvage(self.metrics_file, EpochRow)
        table, steps_left_out = history.columns(self.steps_file, StepRow)
        if about.result is not None:
            best = next((row for row in epochs if row.epoch == about.result.best_epoch), None)
        else:
            best = best_epoch.best(epochs) if epochs else None
        return Curves(
            name=self.name,
            status=about.status,
            planned_epochs=about.recipe.epochs,
            epochs=tuple(epochs),
            best=best,
            steps=table[:, 0].astype(np.int64),
            rates=table[:, 1],
            steps_per_epoch=about.steps_per_epoch,
            test_acc=None if about.result is None else about.result.test_acc,
            test_count=None if about.result is None else about.result.test_count,
            test_total=None if about.result is None else about.result.test_total,
            left_out=tuple(map(str, (*epochs_left_out, *steps_left_out))),
        )

    def samples(self, most: int) -> bytes | None:
        """The PNG of augmented training images; None where it is absent, no PNG, or larger than `most` bytes."""
        try:
            content = read_regular(self.path / artifacts.SAMPLES, most)
        except OSError:
            return None
        return content if content.startswith(_PNG) else None

    def contents(self) -> tuple[Artifact, ...]:
        """Every file of the run that a person may open."""
        return artifacts.contents(self.path)

    def refuse_links(self) -> None:
        """Refuses a run whose folder holds links, through which writing to it would write elsewhere.

        Raises:
            EraError: one of its files, or its folder of checkpoints, is a link.
        """
        for folder in (self.path, self.checkpoints):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.is_symlink():
                    raise EraError(
                        f"{path} is a link, and era does not write through links in a run: replace it with what it"
                        " points to"
                    )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other writers out while the block runs; the system frees it should the process die.

        Raises:
            EraError: another process is writing to the run.
        """
        lock = FileLock(self.path / artifacts.LOCK)
        try:
            lock.acquire(timeout=_PATIENCE, poll_interval=_PATIENCE / 10)
        except Timeout:
            raise self.in_use() from None
        try:
            yield
        finally:
            lock.release()

    def in_use(self) -> EraError:
        """The sentence about a run that another process writes to."""
        return EraError(f"{self.path} is in use: another era process is training it; wait for it or stop it")

    def is_in_use(self) -> bool | None:
        """Whether another process holds the run's lock; None where the system does not say.

        Leaves no file behind, follows no link and waits for nobody.
        """
        if sys.platform == "win32":
            return None
        try:
            descriptor = os.open(self.path / artifacts.LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:  # no process has a lock that is absent or, which filelock refuses, a link
            return False if error.errno in (errno.ENOENT, errno.ELOOP) else None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return False
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # until it is closed
        except BlockingIOError:
            return True
        except OSError:
            return None
        else:
            return False
        finally:
            os.close(descriptor)
