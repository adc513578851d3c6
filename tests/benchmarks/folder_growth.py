"""A folder of images that memory could not hold decoded: how time and memory grow, and whether it works within a limit.

Small JPEGs are read as images of 224 pixels, of which era keeps the decoded form in a file and maps it. A process of
its own decodes 1, 2, 4 and 8 times the images into a fresh cache, takes mean and deviation, and goes through an epoch
of augmented batches, without a network. Time is that of all three; memory is the peak of its anonymous memory, which
no file backs, looked at from outside every few milliseconds: it should not grow. The largest folder is read once more
in a process whose memory is limited to three quarters of the decoded images.

The temporary folder (TMPDIR) must be on a disk: files in a tmpfs are memory.
"""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks import images, processes
from tests.benchmarks.measuring import Absent, CannotRun, Figure, Found, Options, take_turns
from tests.benchmarks.memory import MB
from tests.benchmarks.memory_limit import Limit, limited_to

TIMES = (1, 2, 4, 8)
CLASSES = 4
FILE_SIDE = 64  # pixels of a file
IN_MEMORY = ("tmpfs", "ramfs")  # file systems
SHARE = 3 / 4  # of the decoded images that the limited process may take
MOUNTS = Path("/proc/self/mounts")


@dataclass(frozen=True)
class Passed:
    """Seconds of the whole pass, the peak of anonymous memory in MB, and whether a limit ended it before time."""

    seconds: float
    anonymous: float
    killed: bool = False


def figures(options: Options) -> Iterator[Found]:
    """Seconds and MB at each size over those at the first; then the limited process over the free one."""
    if not Path("/proc/self/status").exists():
        raise CannotRun("anonymous memory is read from /proc, which this system has not")
    side, each = (32, 32) if options.quick else (224, 192)
    count = CLASSES * each
    decoded = TIMES[-1] * count * 3 * side**2
    # The few images of a quick trial would fit into any memory: it only shows that limits are set.
    size = 2_000_000_000 if options.quick else int(SHARE * decoded)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if (kind := _file_system(folder)) in IN_MEMORY:
            raise CannotRun(f"the temporary folder is a {kind}, which is memory: set TMPDIR to a folder on a disk")
        for times in TIMES:
            images.write_classes(folder / str(times), classes=CLASSES, each=times * each, side=FILE_SIDE, seed=times)
        free = [partial(_passed, folder / str(times), times * count, side) for times in TIMES]
        with limited_to(size) as limit:
            rounds = take_turns([*free, partial(free[-1], limit)], options.rounds)
    yield from _grown(count, side, rounds)
    yield _limited(f"{decoded / MB:,.0f} MB decoded in {size / MB:,.0f} MB of memory", limit, rounds)


def _grown(count: int, side: int, rounds: tuple[tuple[Passed, ...], ...]) -> Iterator[Figure]:
    for place, times in enumerate(TIMES[1:], start=1):
        decoded = times * count * 3 * side**2 / MB
        yield Figure(
            what=f"seconds to decode and pass a folder of {times * count:,} images ({decoded:,.0f} MB decoded)"
            f" over those of {count:,} (linear: {times})",
            left=f"{times} times the images",
            right="once",
            unit="s",
            rounds=tuple((found[place].seconds, found[0].seconds) for found in rounds),
        )
    for place, times in enumerate(TIMES[1:], start=1):
        yield Figure(
            what=f"peak anonymous memory of that pass over {times * count:,} images over that over {count:,}"
            " (no growth: 1)",
            left=f"{times} times the images",
            right="once",
            unit="MB",
            rounds=tuple((found[place].anonymous, found[0].anonymous) for found in rounds),
        )


def _limited(sizes: str, limit: Limit, rounds: tuple[tuple[Passed, ...], ...]) -> Found:
    """The last of every round over the one before it."""
    what = f"seconds to decode and pass a folder of {sizes} over those without a limit"
    if killed := [within.anonymous for *_, within in rounds if within.killed]:
        free = max(found[-2].anonymous for found in rounds)
        return Absent(
            what,
            f"killed at its limit in {len(killed)} of {len(rounds)} rounds, its anonymous memory then at"
            f" {max(killed):,.0f} MB; without a limit it reached {free:,.0f} MB ({limit.how})",
        )
    return Figure(
        what=what,
        left="limited",
        right="free",
        unit="s",
        rounds=tuple((within.seconds, free.seconds) for *_, free, within in rounds),
        note=f"{limit.how}; anonymous memory {max(within.anonymous for *_, within in rounds):,.0f} MB",
    )


def _passed(folder: Path, count: int, side: int, limit: Limit | None = None) -> Passed:
    """One process through `folder`, from files to batches."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
        finished = processes.run(
            ["-m", "tests.benchmarks.folder_child", str(folder), str(side)],
            environment={"XDG_CACHE_HOME": cache},
            watch=True,
            limit=limit,
        )
    anonymous = finished.peak_anonymous / MB
    if limit is not None and finished.code == -signal.SIGKILL:
        return Passed(finished.seconds, anonymous, killed=True)
    if finished.code:
        raise processes.Failed(f"the pass ended with {finished.code}: {finished.last_words}")
    found = json.loads(finished.stdout)
    if not 0.7 * count < found["images"] <= count:  # a fifth is held out for testing
        raise processes.Failed(f"an epoch of {count} images had {found['images']}")
    return Passed(found["loading"] + found["statistics"] + found["epoch"], anonymous)


def _file_system(folder: Path) -> str:
    """The kind of file system that `folder` is on."""
    mounts = [line.split(" ")[1:3] for line in MOUNTS.read_text(encoding="utf-8").splitlines()]
    return max((len(place), kind) for place, kind in mounts if folder.resolve().is_relative_to(place))[1]
