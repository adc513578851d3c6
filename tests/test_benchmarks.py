"""What keeps and shows the benchmarks' figures; nothing is measured here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from era_cli.core.training import devices
from tests.benchmarks import launcher, memory_limit, processes_curves, processes_scaling, report, suite
from tests.benchmarks.measuring import (
    Absent,
    CannotRun,
    Figure,
    Found,
    Options,
    Part,
    Target,
    take_turns,
)
from tests.benchmarks.memory_limit import limited_to
from tests.benchmarks.processes_curves import Learned
from tests.benchmarks.processes_scaling import Trained, Training
from tests.benchmarks.report import PartResult

posix_only = pytest.mark.skipif(not hasattr(os, "wait4"), reason="wait4 is of POSIX")


def figure(*rounds: tuple[float, float], what: str = "this over that", target: Target | None = None) -> Figure:
    return Figure(what=what, left="this", right="that", unit="s", rounds=rounds, target=target)


# Measuring


def test_every_second_round_is_in_reverse() -> None:
    ran: list[str] = []

    def side(name: str) -> Callable[[], str]:
        def work() -> str:
            ran.append(name)
            return f"{name}{len(ran)}"

        return work

    found = take_turns((side("a"), side("b"), side("c")), 3)
    assert "".join(ran) == "abccbaabc"
    assert found == (("a1", "b2", "c3"), ("a6", "b5", "c4"), ("a7", "b8", "c9"))


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    judged = figure((1, 1), (2, 8), (9, 3))
    assert judged.ratios == (1, 0.25, 3)
    assert (judged.ratio, judged.left_median, judged.right_median) == (1, 2, 3)
    assert judged.difference == 0  # of 0, -6 and 6
    assert figure((1, 1), (2, 1), (4, 1), (9, 1)).ratio == 3  # the mean of the middle two


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target("at least", 1.5), True),
        (Target("at least", 1.6), False),
        (Target("at most", 1.5), True),
        (Target("at most", 3, of="left"), True),
        (Target("at most", 2.9, of="left"), False),
        (Target("at most", 1, of="difference"), True),
        (Target("at most", 0.9, of="difference"), False),
        (None, None),
    ],
)
def test_a_target_bounds_ratio_side_or_difference(target: Target | None, met: bool | None) -> None:
    assert figure((3, 2), target=target).met is met


@pytest.mark.parametrize("rounds", [[], [(1, 1), (float("nan"), 1)], [(1, 1), (1, float("inf"))], [(1, 0)], [(1, -1)]])
def test_what_has_no_ratio_is_no_figure(rounds: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=r"no round|is no ratio"):
        figure(*rounds)


# Reporting


def test_the_json_holds_every_round(tmp_path: Path) -> None:
    part = PartResult("part", [figure((1, 2), (3, 4), target=Target("at least", 0.5))], [Absent("other", "no GPU")])
    report.write(tmp_path, {"device": "a CPU"}, [part])

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert document["schema"] == report.SCHEMA
    assert document["conditions"] == {"device": "a CPU"}
    (kept,) = document["parts"]
    assert kept["absent"] == [{"what": "other", "reason": "no GPU"}]
    (found,) = kept["figures"]
    assert found["rounds"] == [{"left": 1, "right": 2, "ratio": 0.5}, {"left": 3, "right": 4, "ratio": 0.75}]
    assert found["median"] == {"left": 2, "right": 3, "difference": -1, "ratio": 0.625}
    assert (found["target"], found["met"]) == ("ratio at least 0.5", True)


def cells(row: str) -> list[str]:
    """The cells of a Markdown table's row, as a renderer splits them."""
    return [cell.strip() for cell in re.findall(r"((?:\\.|[^|\\])*)\|", row)[1:]]


def test_cells_of_the_markdown_hold_any_text() -> None:
    odd = "a|b \\| c\n<d> \\"
    text = report.as_markdown({odd: odd}, [PartResult("part", [figure((1, 1), what=odd)], [Absent(odd, odd)])])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(cells(row)) for row in rows} == {2, 8}
    assert sum(cells(row)[0] == r"a\|b \\\| c &lt;d> \\" for row in rows) == 3


def test_the_verdict_is_told() -> None:
    part = PartResult("part", [figure((1, 2), (4, 2), target=Target("at least", 2))], seconds=7.4)
    text = report.as_markdown({}, [part])
    row = next(line for line in text.splitlines() if "this over that" in line)
    told = ["this: 2.5 s", "that: 2 s", "0.5 s", "1.250", "0.500, 2.000", "ratio at least 2", "**no**"]
    assert cells(row)[1:] == told
    assert "Took 7 s." in text
    assert report.line(figure((1, 2), target=Target("at least", 0.9))).endswith("ratio at least 0.9: MISSED")
    assert report.line(Absent("this", "no GPU")) == "this: not measured, no GPU"


# The suite


def part_of(*found: Found, then: Exception | None = None) -> Part:
    def figures(options: Options) -> Iterator[Found]:
        yield from found
        if then is not None:
            raise then

    return figures


def test_a_part_that_fails_is_reported_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = {
        "breaks": part_of(figure((1, 1), what="before"), then=RuntimeError("it broke")),
        "cannot": part_of(then=CannotRun("there is no GPU")),
        "missing": suite.part("no_such_module"),
        "works": part_of(figure((1, 2), what="after")),
    }
    results = suite.run(parts, Options(), {}, tmp_path)
    assert [result.failed for result in results] == [True, False, True, False]
    assert results[0].figures == [figure((1, 1), what="before")]
    assert results[0].absent == [Absent("breaks", "failed (RuntimeError: it broke)")]
    assert results[1].absent == [Absent("cannot", "there is no GPU")]
    assert results[3].figures == [figure((1, 2), what="after")]
    assert "it broke" in capsys.readouterr().err  # with its traceback
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    for words in ("before", "it broke", "there is no GPU", "no_such_module", "after"):
        assert words in text


def test_an_interrupted_suite_keeps_what_it_has(tmp_path: Path) -> None:
    def interrupted(options: Options) -> Iterator[Found]:
        yield figure((1, 1), what="second")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        suite.run({"one": part_of(figure((1, 1), what="first")), "two": interrupted}, Options(), {}, tmp_path)
    kept = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["parts"]
    assert [found["what"] for one in kept for found in one["figures"]] == ["first", "second"]


# Processes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is of Linux")
def test_the_launcher_tells_how_a_process_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # so that it is undone
    script = ["/bin/sh", "-c", "echo out; echo err >&2; exit 3"]
    told = launcher.launch(script, dict(os.environ), str(tmp_path))
    assert told["code"] == 3
    assert told["seconds"] > 0
    assert told["peak"] > 100_000  # bytes, not kilobytes
    assert (tmp_path / "stdout").read_text() == "out\n"
    assert (tmp_path / "stderr").read_text() == "err\n"
    hog = [sys.executable, "-S", "-c", "import time; held = bytearray(60_000_000); time.sleep(100)"]
    told = launcher.launch(hog, {}, str(tmp_path), watch=True, most_anonymous=30_000_000)
    assert told["code"] == -9
    assert told["peak_anonymous"] > 30_000_000


@posix_only
def test_stopping_the_measuring_stops_the_measured(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = f"import os, pathlib, time; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(100)"
    script = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3));"
    script += f"from tests.benchmarks import processes; processes.run(['-S', '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[1]) as measuring:
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.01)
        measuring.terminate()
    assert measuring.returncode == 3
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


# Several processes


@pytest.mark.parametrize(
    ("gpus", "efficiencies", "waiting"),
    [
        (1, {"2 CPU processes": 1.5}, [0, 0.2]),
        (5, {"2 CPU processes": 1.5, "2 GPUs": 0.75, "4 GPUs": 0.5}, [0, 0.2, 0, 0.2, 0.2]),
    ],
)
def test_processes_share_one_cpu_and_have_a_gpu_each(
    gpus: int, efficiencies: dict[str, float], waiting: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_processes(training: Training, count: int) -> Trained:
        """Of a step of 100 ms, several processes wait for 20."""
        speed = {1: 1.0, 2: 1.5, 4: 2.0}
        return Trained(rate=speed[count], step=100, step_alone=100 if count == 1 else 80, precision="fp32", threads=1)

    monkeypatch.setattr(devices, "count_gpus", lambda: gpus)
    monkeypatch.setattr(Training, "in_processes", in_processes)
    found = list(processes_scaling.figures(Options(rounds=2, quick=True)))
    figures = [one for one in found if isinstance(one, Figure)]
    assert {one.left: one.ratio for one in figures if one.left != "waiting"} == efficiencies
    assert [one.ratio for one in figures if one.left == "waiting"] == waiting
    assert len(found) - len(figures) == (gpus == 1)  # a row says that there are no several GPUs


def test_the_curves_of_several_processes_name_their_test_accuracy(tmp_path: Path) -> None:
    assert list(processes_curves.smoothed(np.arange(20.0)))[4:16] == list(range(4, 16))
    runs = [
        Learned(
            count=count,
            losses=np.linspace(2, 1, 20),
            val=np.linspace(0.5, 0.9, 4),
            test=0.9 + count / 100,
            val_count=144,
            test_count=359,
        )
        for count in processes_curves.COUNTS
    ]
    drawn = processes_curves.figure(runs)
    _, accuracy = drawn.axes
    legend = accuracy.get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["1 process: 91.00%", "2 processes: 92.00%", "4 processes: 94.00%"]


# Limits of memory


def hierarchy(folder: Path, kind: str, option: str, groups: str) -> Path:
    """The mount point of a made-up hierarchy of control groups, in which this process is in the group `own`."""
    mount = folder / "mount"
    (mount / "own").mkdir(parents=True)
    memory_limit.MOUNTS.write_text(f"30 20 0:26 / {mount} rw,nosuid - {kind} {kind} rw,{option}\n")
    memory_limit.OWN_GROUPS.write_text(groups)
    return mount


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory_limit, "MOUNTS", tmp_path / "mountinfo")
    monkeypatch.setattr(memory_limit, "OWN_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory_limit, "_remove", lambda folder: None)  # its made-up files would keep it
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "option", "groups", "parent", "file", "how"),
    [
        ("cgroup2", "nsdelegate", "0::/own\n", ".", "memory.max", "v2"),
        ("cgroup", "memory", "4:memory:/own\n0::/\n", "own", "memory.limit_in_bytes", "v1"),
    ],
)
def test_a_group_is_made_where_memory_is_handed_on(
    kind: str, option: str, groups: str, parent: str, file: str, how: str, made_up: Path
) -> None:
    mount = hierarchy(made_up, kind, option, groups)
    if kind == "cgroup2":
        (mount / "cgroup.subtree_control").write_text("cpu memory\n")
        (mount / "own" / "cgroup.subtree_control").write_text("cpu\n")
    with limited_to(1234) as limit:
        assert limit.join is not None
        assert limit.join.parent.parent == mount / parent
        assert (limit.join.parent / file).read_text() == "1234"
        assert how in limit.how


def test_where_no_group_can_be_made_a_watch_stands_in(made_up: Path) -> None:
    with limited_to(1234) as limit:
        assert (limit.join, limit.most_anonymous) == (None, 1234)
        assert "no control group" in limit.how
