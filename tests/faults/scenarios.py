"""The commands that are disturbed, and how a person goes on after each of them."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from era_cli.core.networks import checkpoint
from era_cli.errors import EraError
from era_cli.runs import artifacts
from era_cli.runs.artifacts import CHECKPOINTS, DOCUMENT, LAST
from tests.faults import disk, outcome, warm
from tests.faults.disk import Call, Plan
from tests.faults.warm import Ended
from tests.support import digit_folder, files

SIZE = ("--image-size=8", "--gpus=0", "--batch-size=32", "--limit-train=96", "--limit-test=20", "--dropout=0.1")
TINY = ("fit", "--data=digits", "--precision=fp32", *SIZE)
OLD = b"an older file"
_LONG_AGO = 2 * 86_400  # seconds: more than any temporary file is left alone for
SAVES = 4  # of last.ckpt, before the run to be resumed was killed in its second epoch


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A command that writes, in a folder that `before` has prepared.

    Args:
        seeds: those of the runs that it trains; none for a command that reads a run.
        save_every: seconds between two checkpoints within an epoch; None leaves it as it is.
    """

    title: str
    command: tuple[str, ...]
    before: Callable[[Path], None] = lambda at: None
    seeds: tuple[int, ...] = ()
    save_every: float | None = None

    def run(self, at: Path, plan: Plan = warm.NOTHING, **options: Any) -> Ended:
        """The command in the folder `at`, disturbed by the plan."""
        return warm.run(at, *self.command, plan=plan, save_every=self.save_every, **options)


@dataclass(frozen=True)
class Undisturbed:
    """What a scenario starts from, what it leaves when nothing happens, and the changes to the disk on the way."""

    before: Path
    after: Path
    calls: tuple[Call, ...]
    outputs: frozenset[str] = field(default_factory=frozenset)


_folder = functools.cache(lambda: tempfile.TemporaryDirectory(prefix="era-faults-"))
_locks: dict[str, threading.Lock] = {}
_known: dict[str, Undisturbed] = {}
_all = threading.Lock()
_survived: set[tuple[Any, ...]] = set()


def undisturbed(scenario: Scenario) -> Undisturbed:
    """The scenario when nothing happens; tried once, however often it is asked for."""
    with _all:
        lock = _locks.setdefault(scenario.title, threading.Lock())
    with lock:
        if scenario.title not in _known:
            _known[scenario.title] = _tried(scenario, Path(_folder().name) / scenario.title.replace(" ", "-"))
        return _known[scenario.title]


def _tried(scenario: Scenario, at: Path) -> Undisturbed:
    before, after, record = at / "before", at / "after", at / "record"
    (before / "work").mkdir(parents=True)
    scenario.before(before)
    copy(before, after)
    outputs: frozenset[str] = frozenset()
    if not scenario.seeds:  # what it writes, so that the files of before can be made older ones
        had = files(before / "work")
        _must(scenario.run(after))
        outputs = frozenset(files(after / "work") - had)
        for name in outputs:
            (before / "work" / name).write_bytes(OLD)
        shutil.rmtree(after)
        copy(before, after)
    _must(scenario.run(after, record=str(record)))
    return Undisturbed(before, after, tuple(disk.load(record)), outputs)


def _must(ended: Ended) -> Ended:
    assert ended.code == 0, (ended.code, ended.stdout[-2000:], ended.stderr[-3000:])
    return ended


def copy(one: Path, other: Path) -> None:
    """A copy of a scenario's folder; two names of one file stay two names of one file."""
    (other / "work").mkdir(parents=True, exist_ok=True)
    first: dict[int, Path] = {}
    for path in sorted(one.rglob("*")):
        target = other / path.relative_to(one)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.stat().st_nlink > 1 and path.stat().st_ino in first:
            target.hardlink_to(first[path.stat().st_ino])
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
            first[path.stat().st_ino] = target


def go_on(
    scenario: Scenario, at: Path, done: int, *, may_lack: Collection[str] = (), swept: Sequence[str] = ("work", "cache")
) -> None:
    """Goes on from whatever lies in `at` as a person would, and checks that the end is as if nothing had happened.

    What had been saved by the `done` changes of the disk before the fault must not be lost. A run `may_lack` files that
    a warning gave up. Nothing temporary is left in the `swept` folders. From a state that was survived before, however
    it came about, nobody goes on again.
    """
    for name, step in _saved(undisturbed(scenario).calls[:done]).items():
        assert _newest_step(at / "work" / "runs" / name / CHECKPOINTS) >= step, f"step {step} is lost"
    age(at)
    state = scenario.title, frozenset(may_lack), outcome.state_of(at / "work"), outcome.state_of(at / "cache")
    if state in _survived:
        return
    if scenario.seeds:
        _finish(scenario, at, may_lack)
    else:
        _repeat(scenario, at)
    for folder in swept:
        outcome.assert_nothing_stray(at / folder)
    _survived.add(state)


def _newest_step(folder: Path) -> int:
    """After how many steps the newest checkpoint was taken that can be read; its network is not the one of here."""
    for path in artifacts.training_states(folder):
        with contextlib.suppress(EraError):
            return int(checkpoint.read(path)["global_step"])
    return 0


def assert_untouched(scenario: Scenario, at: Path) -> None:
    """Of a command that reads: every file is as it was, or whole and new."""
    known = undisturbed(scenario)
    work, before, after = at / "work", known.before / "work", known.after / "work"
    for name in files(before):
        if name in known.outputs and (work / name).is_file() and (work / name).read_bytes() != OLD:
            outcome.assert_equal_files(work / name, after / name)
        elif not name.endswith(".lock"):
            assert (work / name).read_bytes() == (before / name).read_bytes(), f"{name} has changed"
    new = files(work) - files(before) - files(after)
    assert all(Path(name).name.startswith(".") for name in new), new


def assert_ended(scenario: Scenario, at: Path, may_lack: Collection[str] = ()) -> None:
    """All is there, and as it is when nothing happens."""
    after = undisturbed(scenario).after
    if scenario.seeds:
        ended, wanted = _runs(at), _runs(after)
        assert set(ended) == set(wanted), (ended, wanted)
        for seed, run in wanted.items():
            outcome.assert_equal_runs(ended[seed], run, may_lack=may_lack)
        return
    had = {name for name in files(at / "work") if not Path(name).name.startswith(".")}
    assert had == {name for name in files(after / "work") if not Path(name).name.startswith(".")}
    for name in had:
        outcome.assert_equal_files(at / "work" / name, after / "work" / name)


def _repeat(scenario: Scenario, at: Path) -> None:
    assert_untouched(scenario, at)
    _must(scenario.run(at))
    assert_ended(scenario, at)


def age(at: Path) -> None:
    """Lets time pass since the fault: what a killed process left is kept for a while, lest it be another's."""
    then = time.time() - _LONG_AGO
    for path in outcome.strays(at):
        os.utime(path, (then, then))


def _saved(calls: tuple[Call, ...]) -> dict[str, int]:
    """By run, the step of the last checkpoint whose name was on the disk after these calls."""
    content: dict[str, bytes] = {}
    named: dict[str, bytes] = {}
    saved: dict[str, bytes] = {}
    for call in calls:
        if call.kind == "write":
            content[call.path] = content.get(call.path, b"") + call.data
        elif call.kind == "rename" and call.to.endswith(f"{CHECKPOINTS}/{LAST}"):
            named[str(Path(call.to).parent)] = content[call.path]
        elif call.kind == "fsync" and call.path in named:
            saved[call.path] = named.pop(call.path)
    return {Path(folder).parent.name: _step(state) for folder, state in saved.items()}


@functools.lru_cache
def _step(state: bytes) -> int:
    return int(checkpoint.parse(state, Path("recorded"))["global_step"])


def _runs(at: Path) -> dict[int, Path]:
    """The runs by their seed."""
    found: dict[int, Path] = {}
    for file in sorted((at / "work").glob(f"runs/*/{DOCUMENT}")):
        if not file.parent.name.startswith("."):
            found[json.loads(file.read_text(encoding="utf-8"))["seed"]] = file.parent
    return found


def _status(run: Path) -> str:
    return str(json.loads((run / DOCUMENT).read_text(encoding="utf-8"))["status"])


def _finish(scenario: Scenario, at: Path, may_lack: Collection[str]) -> None:
    known = undisturbed(scenario)
    for seed, run in _runs(known.before).items():
        if seed not in scenario.seeds and (still := _runs(at).get(seed)) is not None:
            outcome.assert_equal_runs(still, run)
    for seed in scenario.seeds:
        _run_again(scenario, at, seed)
    assert_ended(scenario, at, may_lack)


def resume(scenario: Scenario, at: Path, seed: int, **options: Any) -> Ended:
    """Resumes the run of this seed, or starts it anew where era says that there is nothing to resume.

    A finished run is left alone.
    """
    run = _runs(at).get(seed)
    options = {"save_every": scenario.save_every, **options}
    fresh = [word for word in scenario.command if not word.startswith("--seeds")] + [f"--seed={seed}"]
    if "--resume" in fresh:
        fresh = [*TINY, "--epochs=2"]
    if run is None:
        return warm.run(at, *fresh, **options)
    which = "latest" if len(scenario.seeds) == 1 else run.name
    ended = warm.run(at, "fit", "--resume", which, **options)
    if ended.code == 1 and "holds no checkpoint yet" in ended.stderr:
        outcome.assert_refused(1, ended.stderr, f"start it again with --name {run.name} --overwrite")
        own = [word for word in fresh if not word.startswith(("--name", "--overwrite"))]
        return warm.run(at, *own, "--name", run.name, "--overwrite", **options)
    return ended


def _run_again(scenario: Scenario, at: Path, seed: int) -> None:
    """Resumes to the end; of a run that was trained to it only a figure may be missing."""
    ended = resume(scenario, at, seed)
    if "is finished" in ended.stderr:
        _must(warm.run(at, "plot-curves", "--run", _runs(at)[seed].name))
    else:
        _must(ended)


def _interrupted(at: Path) -> None:
    """A run that was killed as it saved within its second epoch, with rows that lie past its checkpoint."""
    fit = (*TINY, "--epochs=2")
    probe = at / "probe"
    record = at / "record"
    _must(warm.run(probe, *fit, save_every=0.0, record=str(record)))
    calls = disk.load(record)
    saves = [number for number, call in enumerate(calls, 1) if call.kind == "rename" and call.to.endswith("last.ckpt")]
    shutil.rmtree(probe)
    record.unlink()
    ended = warm.run(at, *fit, save_every=0.0, plan=Plan(at=saves[SAVES]))
    assert ended.code == -9, ended


def _finished(at: Path) -> None:
    _must(warm.run(at, *TINY, "--epochs=2", "--name=own", "--seed=5"))


def _two(at: Path) -> None:
    _finished(at)
    _must(warm.run(at, *TINY, "--epochs=1", "--name=shorter", "--seed=6"))


def _images(at: Path) -> None:
    digit_folder(at / "work" / "images", {"0": 24, "1": 24})


TRAINING = (
    Scenario(title="fit", command=(*TINY, "--epochs=2"), seeds=(0,)),
    Scenario(title="fit saving often", command=(*TINY, "--epochs=1"), seeds=(0,), save_every=0.0),
    Scenario(title="fit --resume", command=("fit", "--resume", "latest"), before=_interrupted, seeds=(0,)),
    Scenario(title="fit --seeds 2", command=(*TINY, "--epochs=1", "--seeds=2"), seeds=(0, 1)),
    Scenario(title="fit --max-lr auto", command=(*TINY, "--epochs=1", "--max-lr=auto"), seeds=(0,)),
    Scenario(title="fit --val-size 0", command=(*TINY, "--epochs=1", "--val-size=0"), seeds=(0,)),
    Scenario(
        title="fit --overwrite",
        command=(*TINY, "--epochs=1", "--name=own", "--overwrite"),
        before=_finished,
        seeds=(0,),
    ),
    Scenario(
        title="fit of an image folder",
        command=(
            "fit",
            "--data=images",
            "--precision=fp32",
            "--image-size=8",
            "--gpus=0",
            "--batch-size=10",
            "--epochs=1",
            "--name=own",
        ),
        before=_images,
        seeds=(0,),
    ),
)
READING = (
    Scenario(title="eval", command=("eval",), before=_finished),
    Scenario(title="misclassified", command=("misclassified",), before=_finished),
    Scenario(title="gradcam", command=("gradcam", "--n=2", "--layer=layer2"), before=_finished),
    Scenario(title="plot-curves", command=("plot-curves",), before=_finished),
    Scenario(title="report", command=("report",), before=_finished),
    Scenario(title="compare", command=("compare", "own", "shorter"), before=_two),
)
