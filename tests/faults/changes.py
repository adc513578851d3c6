"""What changed between a stop and the resume: the clock, the place of the run or of its images, the images."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from era_cli.runs.run import Run
from tests.faults.case import Case, Fault
from tests.faults.child import Changes
from tests.faults.ground import (
    FIT,
    PHOTO_FIT,
    PHOTOS,
    RESUME,
    RUN,
    assert_ended,
    assert_ended_alike,
    assert_refused,
    assert_whole,
    bring,
    era,
    finished,
    made,
)

TEST = "tests/faults/changes.py"
CLOCK = Fault(
    title="the system clock jumps",
    promise="the run finishes normally, and its wall time is never negative",
    test=TEST,
)
MOVED = Fault(
    title="a run or its images have moved",
    promise="a moved run resumes exactly; if images have moved, one sentence asks for --data, with which it does, too",
    test=TEST,
)
IMAGES = Fault(
    title="the images change between stop and resume",
    promise="resuming is refused with a sentence that says what changed, or it is exact",
    test=TEST,
)
DAY = 86_400.0


def cases() -> Iterator[Case]:
    """Every change, on a run that was stopped within its second epoch."""
    for name, shift in (("a year back", -365 * DAY), ("a day back", -DAY), ("ten years ahead", 3_650 * DAY)):
        yield Case(fault=CLOCK, name=f"resume {name}", check=functools.partial(_resumed_at, shift))
        yield Case(fault=CLOCK, name=f"fit and eval {name}", check=functools.partial(_fitted_at, shift))
    yield Case(fault=CLOCK, name="back and forth at every look", check=_restless_clock)
    for name, move in (("renamed", _renamed), ("in another folder", _elsewhere), ("behind a link", _linked)):
        yield Case(fault=MOVED, name=f"the run {name}", check=move)
    yield Case(fault=MOVED, name="the images", check=_moved_images)
    for name, change in CHANGES.items():
        check = functools.partial(_changed_images, name, change)
        yield Case(fault=IMAGES, name=name, check=check)


# The clock


def _shifted(shift: str) -> Changes:
    """A child whose clock, but not its stopwatch, is off by the seconds of the expression."""
    date = f"lambda: (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds={shift})).isoformat()"
    return Changes(
        set=[
            ("time:time", f"lambda: old() + {shift}"),
            ("era_cli.runs.store:now", f"(lambda datetime: {date})(__import__('datetime'))"),
        ]
    )


def _assert_time(run: Run) -> None:
    document = run.read()
    assert 0 < document.seconds < 1_000
    assert document.result is not None
    assert 0 < document.result.seconds < 1_000
    assert all(row.seconds >= 0 for row in run.epochs())


def _resumed_at(shift: float, folder: Path) -> None:
    run = bring("interrupted", folder)
    assert_ended(era(folder, *RESUME, changes=_shifted(repr(shift))))
    assert_ended_alike(run.path, finished())
    _assert_time(run)


def _fitted_at(shift: float, folder: Path) -> None:
    assert_ended(era(folder, *FIT, changes=_shifted(repr(shift))))
    assert_ended_alike(folder / "runs" / RUN, finished())
    assert_ended(era(folder, "eval", "--gpus=0"))
    _assert_time(Run(folder / "runs" / RUN))


def _restless_clock(folder: Path) -> None:
    run = bring("interrupted", folder)
    assert_ended(era(folder, *RESUME, changes=_shifted("__import__('random').SystemRandom().uniform(-1e9, 1e9)")))
    assert_ended_alike(run.path, finished())
    assert_ended(era(folder, "plot-curves", "--run=latest"))
    _assert_time(run)


# Places


def _renamed(folder: Path) -> None:
    moved = bring("interrupted", folder).path.rename(folder / "runs" / "another")
    assert_ended(era(folder, "fit", "--resume=another", "--gpus=0"))
    assert_ended_alike(moved, finished())
    assert_ended(era(folder, "eval", "--run=latest", "--gpus=0"))


def _elsewhere(folder: Path) -> None:
    run = bring("interrupted", folder)
    (folder / "far").mkdir()
    moved = run.path.rename(folder / "far" / "away")
    assert_refused(era(folder, *RESUME), RUN)
    assert_ended(era(folder, "fit", "--resume=far/away", "--gpus=0"))
    assert_ended_alike(moved, finished())
    assert_ended(era(folder, "eval", "--runs-dir=far", "--gpus=0"))


def _linked(folder: Path) -> None:
    run = bring("interrupted", folder)
    moved = run.path.rename(folder / "moved")
    run.path.symlink_to(moved)
    assert_ended(era(folder, *RESUME))
    assert_ended_alike(moved, finished())


# Images


def _stopped_on_photos(folder: Path) -> Run:
    """A run on images stopped in its second epoch."""
    shutil.copytree(made("photo-run") / PHOTOS, folder / PHOTOS)
    stop = Changes(strikes=[(15, "era_cli.core.training.module:Classifier.training_step", 6)])
    assert_ended(era(folder, *PHOTO_FIT, changes=stop), 143)
    return Run(folder / "runs" / RUN)


def _moved_images(folder: Path) -> None:
    run = _stopped_on_photos(folder)
    (folder / PHOTOS).rename(folder / "elsewhere")
    assert_refused(era(folder, *RESUME), PHOTOS, "--data")
    assert_ended(era(folder, *RESUME, "--data=elsewhere"))
    assert_ended_alike(run.path, made("photo-run") / "runs" / RUN)
    assert_ended(era(folder, "eval", "--gpus=0"))


def _repainted(photos: Path) -> None:
    with Image.open(photos / "1" / _first(photos)) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "1" / _first(photos))


def _first(photos: Path) -> str:
    return min(path.name for path in (photos / "1").iterdir())


def _rewritten(photos: Path) -> None:
    """The same pixels in another file."""
    path = photos / "1" / _first(photos)
    with Image.open(path) as image:
        image.save(path, compress_level=1)


CHANGES: dict[str, Callable[[Path], object]] = {
    "an image changed": _repainted,
    "an image added": lambda photos: shutil.copy(photos / "1" / _first(photos), photos / "1" / "added.png"),
    "an image removed": lambda photos: (photos / "1" / _first(photos)).unlink(),
    "an image moved to another class": lambda photos: (photos / "1" / _first(photos)).rename(photos / "7" / "m.png"),
    "an image damaged": lambda photos: (photos / "1" / _first(photos)).write_bytes(b"damaged"),
    "an image renamed": lambda photos: (photos / "1" / _first(photos)).rename(photos / "1" / "zzz.png"),
    "a class added": lambda photos: shutil.copytree(photos / "1", photos / "2"),
    "a class removed": lambda photos: shutil.rmtree(photos / "1"),
    "a class renamed": lambda photos: (photos / "1").rename(photos / "0"),
    "an image written again": _rewritten,
    "the images touched": lambda photos: subprocess.run(["touch", *photos.rglob("*.png")], check=True),
}
SAME = ("an image written again", "the images touched")


def _changed_images(name: str, change: Callable[[Path], object], folder: Path) -> None:
    run = _stopped_on_photos(folder)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    change(folder / PHOTOS)
    done = era(folder, *RESUME)
    assert_whole(folder)
    if name in SAME:
        assert_ended(done)
        assert_ended_alike(run.path, made("photo-run") / "runs" / RUN)
    else:
        assert_refused(done, PHOTOS)
        assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
