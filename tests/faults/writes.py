"""Every change of the disk, once: the process is killed there, or the change fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from era_cli.files import TEMPORARY_SUFFIX
from era_cli.runs.artifacts import LOCK
from tests.faults import disk, outcome, scenarios
from tests.faults.case import Case, Fault
from tests.faults.disk import Call, Plan
from tests.faults.scenarios import READING, TRAINING, Scenario

TEST = "tests/faults/test_writes.py"
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EINTR)
# What a run may lack where a warning says so: training is worth more than they are, and goes on.
_DISPENSABLE = {
    "samples.png was not drawn": "samples.png",
    "lr-find.png was not drawn": "lr-find.png",
    "The curves were not drawn": "curves.png",
    "The predictions are not cached": "predictions-test.npz",
}

# What may fail without a word, as may the cache: nobody misses the time of a file or reads what is left over.
_SILENT = ("utime", "unlink", "rmdir")
NO_RUN = "no run can be written under runs"

KILLED = Fault(
    title="killed (SIGKILL) between any two changes to the disk, and within any write",
    promise=(
        "resumed, or started again if nothing was saved yet, the run ends like an undisturbed one: checkpoints, "
        "tables, run.json and predictions are equal, figures exist, and nothing is left over"
    ),
    test=TEST,
)
KILLED_READING = Fault(
    title="any command that reads a run, killed (SIGKILL) between any two changes, and within any write",
    promise="each of their files is the old one or the new one, the run is untouched, and the command can be repeated",
    test=TEST,
)
FAILED = Fault(
    title="any change to the disk fails: ENOSPC, EIO, EDQUOT, EROFS, EINTR",
    promise=(
        "exit 1 and one sentence that names what could not be written, or a warning if the file can be drawn "
        "again; once the disk works, the resumed run ends like an undisturbed one. All five errors for `fit`; one at "
        "each change for `--resume`, `--max-lr auto`, `--val-size 0`, `--overwrite`, a run on an image folder and the "
        "second run of `--seeds 2`. Only file times, leftovers and the cache of decoded images may fail silently"
    ),
    test=TEST,
)
FAILED_READING = Fault(
    title="any change to the disk by a command that reads a run fails: one of the five errors at each",
    promise=(
        "exit 1 and one sentence that names what could not be written; each of their files is the old one or the new "
        "one, the run is untouched, and the command can be repeated"
    ),
    test=TEST,
)
# One of each kind of change, of those that matter most; they are part of `make test`.
_SHARP_KILLS = {
    "fit": ("rename run.json", "half of write steps.csv", "rename last.ckpt", "rename best.ckpt"),
    "fit --overwrite": ("rename own", "rmdir .own.replaced"),
    "eval": ("rename confusion.png",),
    "report": ("rename report.html",),
}
_SHARP_ERRORS = {"fit": ("EIO write last.ckpt", "ENOSPC open metrics.csv")}


def cases() -> Iterator[Case]:
    """Every case; asking for them runs each scenario once."""
    for scenario in (*TRAINING, *READING):
        yield from _kills(scenario)
    for scenario in (*TRAINING, *READING):
        yield from _errors(scenario)


def sharp_cases() -> list[tuple[str, str, str]]:
    """What and where the cases are that `make test` tries: kill or error, scenario, change."""
    return [
        (kind, title, change)
        for kind, sharp in (("kill", _SHARP_KILLS), ("error", _SHARP_ERRORS))
        for title, changes in sharp.items()
        for change in changes
    ]


def sharp_case(kind: str, title: str, change: str) -> Case:
    """The case of the scenario whose name has these words, the last one."""
    (scenario,) = [each for each in (*TRAINING, *READING) if each.title == title]
    made = _kills(scenario) if kind == "kill" else _errors(scenario)
    words = change.split(" ", 1) if kind == "error" else [change]
    return [case for case in made if case.name.endswith(words[-1]) and f" {words[0]}" in case.name][-1]


def _kills(scenario: Scenario) -> Iterator[Case]:
    """Killed after one change is killed before the next; where one changed nothing, both are the same."""
    fault = KILLED if scenario.seeds else KILLED_READING
    for number, before, call in _changes(scenario):
        if before is None or not (before.failed or before.kind in ("fsync", "utime")):
            name = f"{scenario.title}: before change {number}, {call.label}"
            yield Case(fault=fault, name=name, check=partial(_killed, scenario, Plan(at=number)))
        if call.kind == "write" and len(call.data) > 1:
            name = f"{scenario.title}: within change {number}, half of {call.label}"
            yield Case(fault=fault, name=name, check=partial(_killed, scenario, Plan(at=number, done=True)))


def _changes(scenario: Scenario) -> Iterator[tuple[int, Call | None, Call]]:
    """The changes by their numbers, with the one before each; of several runs those of the second."""
    calls = scenarios.undisturbed(scenario).calls
    made = [number for number, call in enumerate(calls, 1) if call.kind == "mkdir" and call.path.endswith(".creating")]
    first = made[1] if len(made) > 1 else 1
    for number, (before, call) in enumerate(pairwise((None, *calls)), 1):
        assert call is not None
        if number >= first:
            yield number, before, call


def _errors(scenario: Scenario) -> Iterator[Case]:
    fault = FAILED if scenario.seeds else FAILED_READING
    for number, _, call in _changes(scenario):
        every = ERRORS if scenario.title == "fit" else (ERRORS[number % len(ERRORS)],)
        for place, error in enumerate(every):
            # A full disk stays full and one that is read-only stays so, every other time.
            lasting = error in (errno.ENOSPC, errno.EROFS) and (number + place) % 2 == 0
            # Python repeats a write that was interrupted: the system says so only before anything is written.
            half = number % 2 == 0 and error != errno.EINTR
            plan = Plan(at=number, error=error, done=half, lasting=lasting)
            name = f"{scenario.title}: {errno.errorcode[error]} at change {number}, {call.label}"
            yield Case(fault=fault, name=name, check=partial(_failed, scenario, plan))


def _killed(scenario: Scenario, plan: Plan, at: Path) -> None:
    scenarios.copy(scenarios.undisturbed(scenario).before, at)
    ended = scenario.run(at, plan)
    assert ended.code == -9, ended
    if not scenario.seeds:
        scenarios.assert_untouched(scenario, at)
    scenarios.go_on(scenario, at, plan.at - 1)


def _failed(scenario: Scenario, plan: Plan, folder: Path) -> None:
    at, record = folder / "at", folder / "record"
    scenarios.copy(scenarios.undisturbed(scenario).before, at)
    ended = scenario.run(at, plan, record=str(record))
    calls = disk.load(record)
    refused = [place for place, call in enumerate(calls) if call.refused]
    assert refused, "nothing failed"
    assert "Traceback" not in ended.stderr, ended.stderr
    if not scenario.seeds:
        scenarios.assert_untouched(scenario, at)
    if ended.code != 0:
        said = outcome.assert_refused(ended.code, ended.stderr, os.strerror(plan.error))
        # On a disk that stays full, closing what is open fails, too: any of the files may be named.
        assert any(_is_named(said, calls, place, at) for place in refused), (said, [calls[place] for place in refused])
        lacks = set()
    else:
        said = ended.stdout + ended.stderr
        for place in refused:
            assert _is_silent(calls, place) or _is_named(said, calls, place, at), (said, calls[place])
        lacks = {name for words, name in _DISPENSABLE.items() if words in ended.stdout + ended.stderr}
        scenarios.assert_ended(scenario, at, lacks)
    scenarios.go_on(scenario, at, plan.at - 1, may_lack=lacks - {"curves.png"})


def _is_silent(calls: Sequence[Call], place: int) -> bool:
    """Whether nobody needs to hear that this call failed: it was dispensable, or what it was for was done after it."""
    call, later = calls[place], [each for each in calls[place + 1 :] if not each.failed]
    if call.kind == "write":  # interrupted, and repeated by Python
        return bool(later) and (later[0].kind, later[0].path, later[0].data) == ("write", call.path, call.data)
    if call.kind == "link":  # copied instead
        return any(each.kind == "rename" and _target(each) == _target(call) for each in later)
    if call.kind in ("mkdir", "open") and any(each.path == f"{call.path}/{LOCK}" for each in later):
        return True  # tried by filelock before it made the lock in that folder
    # What is left of a replaced run is removed another time.
    return call.kind in _SILENT or call.path.endswith(".replaced") or call.path.split("/")[0] == "cache"


def _is_named(said: str, calls: Sequence[Call], place: int, at: Path) -> bool:
    """Whether the failure of this call is told with the whole path of what it was to change."""
    call = calls[place]
    if call.kind == "fsync" and not Path(call.path).suffix and place:  # of a folder: of the name just changed in it
        call = calls[place - 1]
    parts = f"{call.path}/{call.to}".split("/")
    if NO_RUN in said and any(part == LOCK or part.endswith((".creating", ".new", ".replaced")) for part in parts):
        return True
    top, *rest = _target(call).split("/")
    if top == "cache":  # what is being decoded has no name of its own yet
        return f"{at}/cache/era/" in said
    return "/".join(rest) in said or call.path.removeprefix("work/") in said


def _target(call: Call) -> str:
    """The name of the file that it changes in the end, of a temporary file that of the one whose place it takes."""
    path = outcome.lasting_name(call.to or call.path)
    folder, name = os.path.split(path)
    if name.endswith(TEMPORARY_SUFFIX):
        return f"{folder}/{name.removeprefix('.').removesuffix(TEMPORARY_SUFFIX)}"
    return path
