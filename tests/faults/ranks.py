"""Three processes that train together, one of which is signalled or killed, or the one that watches over them."""

from __future__ import annotations

import atexit
import functools
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from era_cli.runs.run import Run
from tests.faults.case import Case, Fault
from tests.several import OPTIONS, era, none_left
from tests.support import assert_equal_runs

RANKS = Fault(
    title="a signal to, or SIGKILL of, processes that train together, or the one that started them",
    promise="all end within 10 s with one sentence, and none is left; resumed, or started again if nothing was saved,"
    " the run ends like an undisturbed one of as many processes",
    test="tests/core/fit/test_several_faults.py",
)
FIT = ("fit", *OPTIONS, "--cpu-procs=3", "--name=three")
WITHIN = 10.0  # seconds
_LAST_OF_EPOCH = 6
_making = threading.Lock()


def cases() -> Iterator[Case]:
    """Each signal to each process within an epoch, and some of them at its ends."""
    for number in ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"):
        for rank, whom in ((0, "self"), (2, "self"), (0, "parent")):
            yield _case(rank, 10, number, whom)
    for rank, step, number, whom in (
        (1, 0, "SIGTERM", "self"),
        (1, 0, "SIGKILL", "self"),
        (0, 0, "SIGKILL", "parent"),
        (1, _LAST_OF_EPOCH, "SIGTERM", "self"),
        (0, 10, "SIGKILL", "all"),
        (0, 10, "BUG", "self"),
    ):
        yield _case(rank, step, number, whom)


def _case(rank: int, step: int, number: str, whom: str) -> Case:
    victim = {"self": f"process {rank}", "parent": "the one that started them", "all": "all"}[whom]
    return Case(
        fault=RANKS,
        name=f"{number} to {victim} of three, in step {step}",
        check=partial(_check, f"{rank}:{step}:{number}:{whom}"),
    )


def _check(at: str, folder: Path) -> None:
    _, _, number, whom = at.split(":")
    killed, bug = number == "SIGKILL", number == "BUG"
    runs, struck = folder / "runs", folder / "struck"
    process = era(runs, *FIT, env={"AT_STEP": at, "STRUCK": str(struck)})
    _, err = process.communicate(timeout=120)
    late = time.time() - float(struck.read_text())
    assert late < WITHIN, f"{late:.1f} s after the signal\n{err}"
    assert none_left(runs, within=WITHIN), "a process is left"
    if killed and whom == "parent":
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == (1 if killed or bug else 128 + getattr(signal, number)), (process.returncode, err)
        last = err.strip().splitlines()[-1]
        assert last.startswith("RuntimeError: a bug" if bug else "Error: " if killed else "Stopped by "), err
    assert ("Traceback" in err) == bug, err
    resumable = any((runs / "three" / "checkpoints").glob("*.ckpt"))
    again = era(runs, *(("fit", "--resume=three") if resumable else (*FIT, "--overwrite")))
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert_equal_runs(runs / "three", _undisturbed())
    assert Run(runs / "three").read().status == "finished"


def _undisturbed() -> Path:
    with _making:
        return _made() / "three"


@functools.cache
def _made() -> Path:
    runs = Path(tempfile.mkdtemp(prefix="era-faults-"))
    atexit.register(shutil.rmtree, runs, ignore_errors=True)
    process = era(runs, *FIT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return runs
