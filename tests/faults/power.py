"""The power fails: what a disk may hold of a run whose writes were not all on it.

A recording tells which data and names had been synced at each moment. Data not synced may be lost, there in part, or
zeros; a name (made, renamed, linked, removed) not synced by its folder may be lost, alone or with what came after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from era_cli.files import TEMPORARY_SUFFIX
from tests.faults import outcome, scenarios
from tests.faults.case import Case, Fault
from tests.faults.disk import Call
from tests.faults.scenarios import READING, TRAINING, Scenario

POWER = Fault(
    title="power cut at any change to the disk: unsynced data and names are lost, partial or zeros",
    promise=(
        "what was saved before is there, and the run resumes from it and ends like an undisturbed run. If nothing was "
        "saved yet, one sentence says so. Only states that no kill can leave are counted: most files are synced before "
        "they get their names. For a run on an image folder, one state in 20 is tried; an unfinished entry in the "
        "cache of decoded images stays until images are decoded again"
    ),
    test="tests/faults/test_power.py",
)
# Where the decoded images are cached, which nobody misses and nothing syncs, one state of so many.
_ONE_IN = {"fit of an image folder": 20}
# After which changes a state of `fit` is part of `make test`.
SHARP = ("write steps.csv", "rename run.json")

Tree = dict[str, bytes | None]  # a file's content, None for a folder


class _Step(NamedTuple):
    """A change of a name: made or removed, renamed or linked `to` another; `file` tells what is made, 0 a folder."""

    kind: str
    path: str
    to: str
    file: int

    @property
    def folders(self) -> set[str]:
        """The folders that hold the name."""
        return {os.path.dirname(path) for path in (self.path, self.to) if path}  # noqa: PTH120


class State(NamedTuple):
    """What the disk may hold after a power cut, and how that came about."""

    what: str
    done: int
    tree: Tree


class Machine:
    """The disk as programs see it, and what of it would survive a power cut."""

    def __init__(self, before: Tree) -> None:
        self._steps: list[_Step] = []  # all of them
        self._lasting: set[int] = set()  # the places of those that are on the disk
        self._now: dict[int, bytes] = {}  # content by file
        self._synced: dict[int, bytes] = {}
        self._open: dict[int, int] = {}  # file by opening
        self._begin: dict[str, int] = {}
        self._contents: dict[tuple[int, str, int, int], bytes] = {}
        for path, content in before.items():
            self._begin[path] = 0 if content is None else self._new_file(content)
            if content is not None:
                self._synced[self._begin[path]] = content

    def _new_file(self, content: bytes = b"") -> int:
        number = len(self._now) + 1
        self._now[number] = content
        self._synced[number] = b""
        return number

    def apply(self, call: Call) -> None:
        """One more call was done."""
        if call.failed:
            return
        if call.kind == "open":
            names = self._names(range(len(self._steps)))
            if (file := names.get(call.path)) is None:
                file = self._new_file()
                self._steps.append(_Step("make", call.path, "", file))
            elif call.flags & os.O_TRUNC:
                self._now[file] = b""
            self._open[call.file] = file
        elif call.kind == "write":
            file = self._open[call.file]
            content = self._now[file].ljust(call.offset, b"\0")
            self._now[file] = content[: call.offset] + call.data + content[call.offset + len(call.data) :]
        elif call.kind == "fsync" and call.file in self._open:
            file = self._open[call.file]
            self._synced[file] = self._now[file]
        elif call.kind == "fsync":
            self._lasting |= {place for place, step in enumerate(self._steps) if call.path in step.folders}
        elif call.kind == "mkdir":
            self._steps.append(_Step("make", call.path, "", 0))
        elif call.kind in ("rename", "link"):
            self._steps.append(_Step(call.kind, call.path, call.to, 0))
        elif call.kind in ("unlink", "rmdir"):
            self._steps.append(_Step("remove", call.path, "", 0))
        else:
            assert call.kind in ("chmod", "utime"), f"{call.kind} is not modelled"

    def states(self) -> Iterator[tuple[str, Tree]]:
        """What a power cut may leave now."""
        every = range(len(self._steps))
        loose = [place for place in every if place not in self._lasting]
        kept: dict[str, set[int]] = {"all names": set(every), "no name that is not synced": set(self._lasting)}
        for count, place in enumerate(loose):
            kept[f"names until step {count}"] = self._lasting | set(loose[:count])
            kept[f"all names but that of step {count}"] = set(every) - {place}
        for names_kept, places in kept.items():
            names = self._names(every, places)
            for data_kept in ("all data", "no data that is not synced", "half the data", "zeros"):
                yield (
                    f"{data_kept}, {names_kept}",
                    {path: self._content(file, data_kept) if file else None for path, file in names.items()},
                )

    def now(self) -> Tree:
        """What programs see."""
        names = self._names(range(len(self._steps)))
        return {path: self._content(file, "all data") if file else None for path, file in names.items()}

    def _content(self, file: int, kept: str) -> bytes:
        key = file, kept, hash(self._now[file]), hash(self._synced[file])
        if key not in self._contents:
            self._contents[key] = self._made_content(file, kept)
        return self._contents[key]

    def _made_content(self, file: int, kept: str) -> bytes:
        now, synced = self._now[file], self._synced[file]
        if now == synced or kept == "all data":
            return now
        if kept == "no data that is not synced":
            return synced
        if not now.startswith(synced):  # rewritten in place
            synced = b""
        rest = len(now) - len(synced)
        return now[: len(synced) + rest // 2] if kept == "half the data" else synced + bytes(rest)

    def _names(self, every: range, kept: set[int] | None = None) -> dict[str, int]:
        """The files by their names, if those of the steps `kept` alone are on the disk."""
        names = dict(self._begin)
        for place in every:
            step = self._steps[place]
            if kept is not None and place not in kept:
                continue
            parents = {os.path.dirname(path) for path in (step.to or step.path,)}  # noqa: PTH120
            if not all(parent in names or not parent for parent in parents):
                continue  # lost with its folder
            if step.kind == "make":
                names.setdefault(step.path, step.file)
            elif step.path not in names:
                continue  # what was to be renamed is lost
            elif step.kind == "remove":
                _taken_out(names, step.path)
            elif step.kind == "link":
                names.setdefault(step.to, names[step.path])
            elif names.get(step.to, -1) != names[step.path] or names[step.path] == 0:
                _moved(names, step.path, step.to)
        return names


def _taken_out(names: dict[str, int], path: str) -> dict[str, int]:
    below = {name: file for name, file in names.items() if name == path or name.startswith(path + "/")}
    for name in below:
        del names[name]
    return below


def _moved(names: dict[str, int], path: str, to: str) -> None:
    if names[path] == 0 and any(name.startswith(to + "/") for name in names):
        return  # no folder takes the place of one that is not empty
    names.pop(to, None)
    for name, file in _taken_out(names, path).items():
        names[to + name.removeprefix(path)] = file


def states(before: Tree, calls: Sequence[Call]) -> list[State]:
    """Every state that a power cut may leave at one of the calls, each once, however temporary files differ in it.

    Without the states where nothing is lost, which a kill leaves, too.
    """
    machine, found, killed = Machine(before), {}, set()
    for number, call in enumerate(calls, 1):
        machine.apply(call)
        for what, tree in machine.states():
            # Of the same files those with the most changes behind them: more must be there.
            found[_key(tree)] = State(f"{what}, after change {number}, {call.label}", number, tree)
        killed.add(_key(machine.now()))
    return [state for key, state in found.items() if key not in killed]


def _key(tree: Tree) -> frozenset[tuple[str, bytes | None]]:
    """The tree without the content of temporary files, which no command reads."""
    return frozenset(
        (outcome.lasting_name(path), None if path.endswith(TEMPORARY_SUFFIX) else content)
        for path, content in tree.items()
    )  # the content of each file is hashed once


def read(folder: Path) -> Tree:
    """The files and folders below `folder`."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def cases() -> Iterator[Case]:
    """Every case; asking for them runs each scenario once."""
    for scenario in (*TRAINING, *READING):
        yield from list(cases_of(scenario))[:: _ONE_IN.get(scenario.title, 1)]


def cases_of(scenario: Scenario) -> Iterator[Case]:
    """The states of a scenario."""
    known = scenarios.undisturbed(scenario)
    for state in states(read(known.before), known.calls):
        yield Case(fault=POWER, name=f"{scenario.title}: {state.what}", check=partial(_resumed, scenario, state))


def _resumed(scenario: Scenario, state: State, at: Path) -> None:
    for path, content in state.tree.items():
        if content is None:
            (at / path).mkdir(parents=True, exist_ok=True)
        else:
            (at / path).parent.mkdir(parents=True, exist_ok=True)
            (at / path).write_bytes(content)
    (at / "work").mkdir(exist_ok=True)
    scenarios.go_on(scenario, at, state.done, swept=("work",))
