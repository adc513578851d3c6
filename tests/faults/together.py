"""Several `era` processes at once on the same runs, the same cache and the same names."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults.case import Case, Fault
from tests.faults.child import Changes
from tests.faults.ground import (
    FIT,
    PHOTOS,
    RESUME,
    RUN,
    SHORT,
    Done,
    assert_ended,
    assert_ended_alike,
    assert_refused,
    assert_unharmed,
    assert_whole,
    bring,
    era,
    finished,
    photos,
    place,
    started,
    wait_for_strike,
)
from tests.faults.outcome import assert_equal_runs
from tests.support import TINY_OPTIONS

TOGETHER = Fault(
    title="several processes at once",
    promise="each succeeds or ends with one sentence, and no run is damaged",
    test="tests/faults/together.py",
)
MANY = 8


def cases() -> Iterator[Case]:
    """Two or more of the same, and a reader beside a writer."""
    for name, check in (
        ("two fits with one name", _two_named),
        ("two fits with one name and --overwrite", _two_overwriting),
        ("two resumes of one run", _two_resumes),
        ("a fit beside evals of its run", _fit_beside_eval),
        ("a fit beside verifications of its run", _fit_beside_verify),
        ("two evals of one run", _two_evals),
        ("two fits that decode one folder", _two_decoding),
        ("two sweeps", _two_sweeps),
        ("eight fits that number themselves", _eight_numbered),
    ):
        yield Case(fault=TOGETHER, name=name, check=check)


def _at_once(folder: Path, *commands: Sequence[str]) -> list[Done]:
    place(folder)
    done: dict[int, Done] = {}

    def run(number: int, command: Sequence[str]) -> None:
        done[number] = era(folder, *command)

    threads = [threading.Thread(target=run, args=each) for each in enumerate(commands)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [done[number] for number in range(len(commands))]


def _one_wins(done: Sequence[Done], *codes: int) -> None:
    first, second = sorted(done, key=lambda each: each.code)
    assert_ended(first)
    if second.code:
        assert_refused(second, RUN, codes=codes)


def _two_named(folder: Path) -> None:
    _one_wins(_at_once(folder, FIT, FIT), 1, 2)
    assert_whole(folder)
    assert_equal_runs(folder / "runs" / RUN, finished())


def _two_overwriting(folder: Path) -> None:
    bring("finished", folder)
    _one_wins(_at_once(folder, (*FIT, "--overwrite"), (*FIT, "--overwrite")), 1, 2)
    assert_whole(folder)
    assert_equal_runs(folder / "runs" / RUN, finished())


def _two_resumes(folder: Path) -> None:
    bring("interrupted", folder)
    _one_wins(_at_once(folder, RESUME, RESUME), 1)
    assert_whole(folder)
    assert_ended_alike(folder / "runs" / RUN, finished())


def _fit_beside_eval(folder: Path) -> None:
    ended: list[Done] = []
    fitting = threading.Thread(target=lambda: ended.append(era(folder, *FIT)))
    place(folder)
    fitting.start()
    while fitting.is_alive():
        if not list(folder.glob("runs/*/checkpoints/last.ckpt")):
            time.sleep(0.05)
            continue
        read = era(folder, "eval", "--checkpoint=last", "--gpus=0")
        if read.code:
            assert_refused(read)
        assert_ended(read, 0, 1)
        drawn = era(folder, "plot-curves")
        assert_ended(drawn)
    fitting.join()
    assert_ended(ended[0])
    assert_whole(folder)
    assert_unharmed(folder / "runs" / RUN)


def _fit_beside_verify(folder: Path) -> None:
    """The fit stands still in its second epoch until one verification is done, and goes on beside another."""
    standing = Changes(strikes=[(signal.SIGSTOP, "era_cli.core.training.module:Classifier.training_step", 8)])
    with started(folder, *FIT, changes=standing) as fitting:
        try:
            wait_for_strike(folder, fitting)
            assert_ended(era(folder, "verify"))
            fitting.send_signal(signal.SIGCONT)
            assert_ended(era(folder, "verify"))
            assert_ended(Done(fitting.wait(timeout=60), *fitting.communicate(), 0.0))
        finally:
            fitting.kill()
    assert_whole(folder)
    assert_equal_runs(folder / "runs" / RUN, finished())


def _two_evals(folder: Path) -> None:
    run = bring("finished", folder)
    (run.path / "predictions-test.npz").unlink()
    for done in _at_once(folder, ("eval", "--gpus=0"), ("eval", "--gpus=0")):
        assert_ended(done)
    assert_whole(folder)
    assert_unharmed(run.path)


def _two_decoding(folder: Path) -> None:
    shutil.copytree(photos(), folder / PHOTOS)
    command = ("fit", *SHORT, f"--data={PHOTOS}", "--limit-train=64", "--batch-size=16")
    for done in _at_once(folder, command, command):
        assert_ended(done)
    assert_whole(folder)
    one, other = sorted(folder.glob("runs/*"))
    assert_equal_runs(one, other)
    (entry,) = (folder / "cache" / "era" / "decoded").iterdir()
    assert not entry.name.startswith("."), entry


def _two_sweeps(folder: Path) -> None:
    command = ("lr-find", *TINY_OPTIONS, "--limit-train=160", "--steps=20")
    for done in _at_once(folder, command, command):
        assert_ended(done)
    assert_whole(folder)
    assert len(list(folder.glob("runs/lr-find/*.json"))) == 2


def _eight_numbered(folder: Path) -> None:
    for done in _at_once(folder, *[("fit", *SHORT, "--epochs=1")] * MANY):
        assert_ended(done)
    assert_whole(folder)
    paths = sorted(folder.glob("runs/*"))
    assert [path.name for path in paths] == [f"digits-{number}" for number in range(1, MANY + 1)]
    for path in paths[1:]:
        assert_equal_runs(path, paths[0])
