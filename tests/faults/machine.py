"""A machine that lacks something: disk space, permissions, a home, open files, memory, streams, a wide terminal."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.faults.case import Case, Fault
from tests.faults.ground import (
    FIT,
    PHOTO_FIT,
    PHOTOS,
    RESUME,
    RUN,
    SHORT,
    assert_ended,
    assert_refused,
    assert_unharmed,
    assert_whole,
    bring,
    era,
    finish,
    finished,
    made,
    photos,
)
from tests.faults.outcome import assert_equal_runs
from tests.support import TINY_OPTIONS

TEST = "tests/faults/test_machine.py"
DISK = Fault(
    title="a full disk",
    promise="one sentence names the path; files are intact, and once there is space a fit resumes exactly",
    test=TEST,
)
PERMISSION = Fault(
    title="a folder or file without permissions",
    promise="one sentence names the path, or the command works without it; nothing that exists is lost",
    test=TEST,
)
SHARP_PERMISSIONS = ("lr-find into a read-only folder", "eval of an unreadable run")
LIMIT = Fault(
    title="a limit on files, file sizes or memory",
    promise="the command succeeds or ends with one sentence; files are intact, and a fit resumes exactly",
    test=TEST,
)
STREAM = Fault(
    title="a standard stream that is closed, full or no longer read",
    promise="the command does its work; if stdout could not take the result, the exit code is 1",
    test=TEST,
)
TERMINAL = Fault(
    title="a limited terminal or environment",
    promise="the command does its work and prints what fits",
    test=TEST,
)

# A checkpoint takes 0.86 MB; two are kept, and a third lies beside them while it is written.
DISK_SIZES = (
    *("8k", "16k", "24k", "28k", "32k", "40k", "64k", "256k", "860k", "880k", "900k", "1000k", "1740k", "1760k"),
    *("1800k", "1900k", "2600k", "2620k", "2650k", "2700k"),
)
READERS: dict[str, Sequence[str]] = {
    "eval": ("eval", "--gpus=0"),
    "misclassified": ("misclassified", "--gpus=0"),
    "gradcam": ("gradcam", "--n=2", "--gpus=0"),
    "plot-curves": ("plot-curves",),
    "report": ("report", "--gpus=0"),
    "verify": ("verify",),
}
DRAWING = ("eval", "misclassified", "gradcam", "plot-curves")
LR_FIND = ("lr-find", *TINY_OPTIONS, "--limit-train=160", "--steps=20")
ALL: dict[str, Sequence[str]] = {"fit": FIT, "lr-find": LR_FIND, **READERS}
# Root may read and write everything, unless it has given that up.
UNPRIVILEGED = (
    'setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all "$@"' if os.name == "posix" else ""
)


def every_case() -> Iterator[Case]:
    """Every case there is."""
    yield from _disks()
    yield from _permissions()
    yield from _limits()
    yield from _streams()
    yield from _terminals()


def cases() -> Iterator[Case]:
    """Every case that this machine and this user can try; on stderr those that cannot be."""
    reasons = {fault: why_not(fault) for fault in (DISK, PERMISSION)}
    for fault, reason in reasons.items():
        if reason:
            print(f"Not tried: {fault.title}, since {reason}", file=sys.stderr)
    yield from (case for case in every_case() if not reasons.get(case.fault))


@functools.cache
def why_not(fault: Fault) -> str:
    """Why faults of this class cannot be tried here; empty if they can be."""
    if fault == DISK:
        if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("mount") is None:
            return "only root on Linux can mount a small disk"
        tried = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
        return "this root may not mount" if tried.returncode else ""
    if fault == PERMISSION and os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "root has all permissions, and there is no setpriv"
    return ""


# Full disks


def _disks() -> Iterator[Case]:
    for size in DISK_SIZES:
        yield Case(fault=DISK, name=f"fit with {size}", check=functools.partial(_fit_on_disk, size))
    for size in ("4k", "64k", "1m"):
        for name in DRAWING:
            check = functools.partial(_read_on_disk, size, READERS[name])
            yield Case(fault=DISK, name=f"{name} --out with {size}", check=check)
    for size in ("4k", "16k", "40k"):
        check = functools.partial(_cache_on_disk, size)
        yield Case(fault=DISK, name=f"a cache with {size}", check=check, sharp=size == "16k")


class _SmallDisk:
    """A file system of `size` at `path`, which grows when it is told to."""

    def __init__(self, path: Path, size: str) -> None:
        path.mkdir()
        self._path = path
        self._mount("-o", f"size={size}")

    def grow(self) -> None:
        self._mount("-o", "remount,size=400m")

    def __enter__(self) -> _SmallDisk:
        return self

    def __exit__(self, *error: object) -> None:
        subprocess.run(["umount", "--lazy", self._path], check=True)

    def _mount(self, *options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", self._path], check=True, capture_output=True)


def _fit_on_disk(size: str, folder: Path) -> None:
    with _SmallDisk(folder / "runs", size) as disk:
        done = era(folder, *FIT)
        if done.code:
            assert_refused(done, f"runs/{RUN}" if (folder / "runs" / RUN).exists() else "runs")
        assert_whole(folder)
        disk.grow()
        finish(folder)
        if done.code and not (folder / "runs" / RUN).exists():
            assert_ended(era(folder, *FIT, "--epochs=1"))


def _read_on_disk(size: str, command: Sequence[str], folder: Path) -> None:
    bring("finished", folder)
    with _SmallDisk(folder / "disk", size):
        done = era(folder, *command, "--out=disk/picture.png")
        if done.code:
            assert_refused(done, "disk/picture")
        assert_whole(folder)
        assert_unharmed(folder / "runs" / RUN)


def _cache_on_disk(size: str, folder: Path) -> None:
    shutil.copytree(photos(), folder / PHOTOS)
    with _SmallDisk(folder / "cache", size):
        done = era(folder, *PHOTO_FIT)
        assert_whole(folder)
        if done.code:
            assert_refused(done, f"{folder}/cache/era/decoded", "No space left")
        else:
            assert_equal_runs(folder / "runs" / RUN, made("photo-run") / "runs" / RUN)


# Permissions


def _permissions() -> Iterator[Case]:
    of_photos = ("fit", *SHORT, f"--data={PHOTOS}")
    for name, mode, path, command, codes in (
        ("fit into a read-only folder", 0o500, "runs", FIT, (1,)),
        ("lr-find into a read-only folder", 0o500, "runs", LR_FIND, (1,)),
        ("fit --resume of a read-only run", 0o500, f"runs/{RUN}", RESUME, (1,)),
        ("fit --resume with read-only checkpoints", 0o500, f"runs/{RUN}/checkpoints", RESUME, (1,)),
        ("fit --resume of an unreadable run.json", 0o000, f"runs/{RUN}/run.json", RESUME, (1,)),
        ("fit --resume of an unreadable checkpoint", 0o000, f"runs/{RUN}/checkpoints/last.ckpt", RESUME, (0, 1)),
        ("fit --resume of an unreadable metrics.csv", 0o000, f"runs/{RUN}/metrics.csv", RESUME, (0,)),
        ("fit with a read-only cache", 0o500, "cache", PHOTO_FIT, (0,)),
        ("fit with an unreadable cache", 0o000, "cache", PHOTO_FIT, (0,)),
        ("fit in a read-only working folder", 0o500, ".", FIT, (1,)),
        ("fit of an unreadable folder", 0o000, PHOTOS, of_photos, (1, 2)),
        ("fit of an unreadable class folder", 0o000, f"{PHOTOS}/1", of_photos, (1, 2)),
        *(
            (f"{reader} {what}", mode, f"runs/{RUN}{path}", READERS[reader], codes)
            for reader in READERS
            for what, mode, path, codes in (
                ("of a read-only run", 0o500, "", (int(reader != "verify"),)),  # which writes nothing
                ("of an unreadable run", 0o000, "", (1,)),
                ("of an unreadable run.json", 0o000, "/run.json", (1,)),
            )
        ),
        *(
            (f"{reader} of unreadable checkpoints", 0o000, f"runs/{RUN}/checkpoints", READERS[reader], (1,))
            for reader in ("eval", "misclassified", "gradcam", "report", "verify")
        ),
        ("plot-curves of an unreadable metrics.csv", 0o000, f"runs/{RUN}/metrics.csv", READERS["plot-curves"], (1,)),
        ("eval of unreadable predictions", 0o000, f"runs/{RUN}/predictions-test.npz", READERS["eval"], (0, 1)),
    ):
        check = functools.partial(_without_permission, mode, path, command, codes)
        yield Case(fault=PERMISSION, name=name, check=check, sharp=name in SHARP_PERMISSIONS)


def _without_permission(mode: int, path: str, command: Sequence[str], codes: Sequence[int], folder: Path) -> None:
    resumes = command is RESUME
    if resumes or command[0] in READERS:
        bring("interrupted" if resumes else "finished", folder)
    (folder / "runs").mkdir(exist_ok=True)
    (folder / "cache").mkdir(exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)
    if f"--data={PHOTOS}" in command:
        shutil.copytree(photos(), folder / PHOTOS)
    target = folder / path
    before = target.stat().st_mode
    target.chmod(mode)
    if path == ".":
        (folder / "runs").rmdir()
    try:
        done = era(folder, *command, within=UNPRIVILEGED if os.geteuid() == 0 else "")
    finally:
        target.chmod(before)
    if done.code:
        # In a working folder it cannot make the folder of the runs.
        assert_refused(done, "runs" if path == "." else path, codes=codes)
    else:
        assert_ended(done, *codes)
    assert_whole(folder)
    if command[0] in READERS:
        assert_unharmed(folder / "runs" / RUN)
    elif command is PHOTO_FIT:
        assert_equal_runs(folder / "runs" / RUN, made("photo-run") / "runs" / RUN)
    else:
        finish(folder)


# Limits


def _limits() -> Iterator[Case]:
    for what, limit in (
        ("32 open files", "ulimit -n 32"),
        ("12 open files", "ulimit -n 12"),
        ("files of 1 kB", "ulimit -f 1"),
        ("files of 100 kB", "ulimit -f 100"),
        ("files of 800 kB", "ulimit -f 800"),
        ("1 GB of addresses", "ulimit -v 1000000"),
        ("2 GB of addresses", "ulimit -v 2000000"),
        ("4 GB of addresses", "ulimit -v 4000000"),
    ):
        for name, command in ALL.items():
            if name in ("lr-find", "misclassified", "plot-curves", "report") and what != "files of 1 kB":
                continue
            check = functools.partial(_limited, f'{limit}; "$@"', command)
            yield Case(fault=LIMIT, name=f"{name} with {what}", check=check)


def _limited(within: str, command: Sequence[str], folder: Path) -> None:
    if command[0] in READERS:
        bring("finished", folder)
    done = era(folder, *command, within=within)
    if done.code:
        assert_refused(done)
    assert_whole(folder)
    if command[0] in READERS:
        assert_unharmed(folder / "runs" / RUN)
    elif command is FIT:
        finish(folder)


# Streams


def _streams() -> Iterator[Case]:
    commands: dict[str, Sequence[str]] = {
        "fit": FIT,
        "fit --json": (*FIT, "--json"),
        "eval": READERS["eval"],
        "eval --json": ("eval", "--gpus=0", "--json"),
        "plot-curves": READERS["plot-curves"],
        "verify": READERS["verify"],
        "help": ("fit", "--help"),
        "version": ("--version",),
        "wrong usage": ("fit", "--epochs=0"),
    }
    for what, within, full in (
        ("stdout closed", '"$@" >&-', False),
        ("stderr closed", '"$@" 2>&-', False),
        ("both closed", '"$@" >&- 2>&-', False),
        ("all closed", '"$@" <&- >&- 2>&-', False),
        ("stdout full", '"$@" >/dev/full', True),
        ("stderr full", '"$@" 2>/dev/full', False),
        ("both full", '"$@" >/dev/full 2>/dev/full', True),
        ("a reader that leaves", '"$@" | head -1', False),
        ("a reader of both that leaves", '"$@" 2>&1 | head -1', False),
        ("a reader that was never there", '"$@" | true', False),
    ):
        for name, command in commands.items():
            if name in _SHARPEST and what not in _SHARPEST[name]:
                continue
            check = functools.partial(_streamed, within, command, full)
            sharp = (name, what) in {("help", "all closed"), ("version", "stdout full"), ("wrong usage", "both full")}
            yield Case(fault=STREAM, name=f"{name}: {what}", check=check, sharp=sharp)


# Of the commands that take long: where they print on, draw on, or end.
_SHARPEST = {
    "fit": ("all closed", "both full", "a reader of both that leaves", "a reader that was never there"),
    "fit --json": ("stdout full", "a reader that leaves"),
    "verify": ("all closed", "stdout full", "a reader of both that leaves"),
}


def _streamed(within: str, command: Sequence[str], full: bool, folder: Path) -> None:
    if command[0] in READERS:
        bring("finished", folder)
    done = era(folder, *command, within=within)
    wrong = "--epochs=0" in command
    left = within.endswith((" true", "head -1")) and command[-1] in ("--help", "--version")  # nothing else was asked
    assert_ended(done, 2 if wrong else 1 if full else 0, *((1,) if left else ()))
    if wrong and "2>" not in within:
        assert done.err.startswith("Error: "), done.err
    assert_whole(folder)
    if command[0] in READERS:
        assert_unharmed(folder / "runs" / RUN)
    elif command[: len(FIT)] == FIT:
        assert_equal_runs(folder / "runs" / RUN, finished())


# Terminals and environments


def _terminals() -> Iterator[Case]:
    environments: dict[str, Mapping[str, str | None]] = {
        "ASCII and narrow": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "TERM": "dumb", "COLUMNS": "20"},
        "one column": {"COLUMNS": "1", "LINES": "1"},
        "no columns": {"COLUMNS": "0"},
        "no number of columns": {"COLUMNS": "many"},
        "no HOME": {"HOME": None, "XDG_CACHE_HOME": None},
        "a HOME that is not there": {"HOME": "/nonexistent", "XDG_CACHE_HOME": None},
        "a HOME that is a file": {"HOME": "/dev/null", "XDG_CACHE_HOME": None},
        "a TMPDIR that is not there": {"TMPDIR": "/nonexistent"},
        "an empty environment": {name: None for name in os.environ if name not in ("PYTHONPATH", "PATH")},
    }
    for what, env in environments.items():
        for name, command in ALL.items():
            if (
                name in ("lr-find", "gradcam", "misclassified", "report")
                and "column" not in what
                and "narrow" not in what
            ):
                continue
            if name == "verify" and "narrow" not in what:
                continue
            yield Case(fault=TERMINAL, name=f"{name}: {what}", check=functools.partial(_environed, env, command))


def _environed(env: Mapping[str, str | None], command: Sequence[str], folder: Path) -> None:
    if command[0] in READERS:
        bring("finished", folder)
    done = era(folder, *command, env=env)
    assert_ended(done)
    expected = ("Warning: With only", "Warning: layer3 has a single cell")
    assert not [line for line in done.err.splitlines() if "Warning" in line and not line.startswith(expected)], done.err
    if env.get("PYTHONIOENCODING"):
        assert done.out.isascii()
    assert_whole(folder)
    if command is FIT:
        assert_equal_runs(folder / "runs" / RUN, finished())
    elif command is not LR_FIND:
        assert_unharmed(folder / "runs" / RUN)
