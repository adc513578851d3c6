"""Runs parts one after the other and keeps what each has found, whatever becomes of the next."""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.measuring import Absent, CannotRun, Figure, Found, Options, Part
from tests.benchmarks.report import PartResult

# Each is a module beside this one with a function `figures`.
NAMES = (
    "startup",
    "throughput",
    "course_way",
    "augmentation",
    "memory",
    "growth",
    "folder_growth",
    "heatmaps",
    "end_to_end",
    "processes_scaling",
)


def part(name: str) -> Part:
    """The part called `name`; its module is imported when it runs, so that one that cannot be is reported."""

    def figures(options: Options) -> Iterator[Found]:
        yield from importlib.import_module(f"tests.benchmarks.{name}").figures(options)

    return figures


def run(parts: Mapping[str, Part], options: Options, conditions: Mapping[str, str], folder: Path) -> list[PartResult]:
    """Measures every part, prints each figure, and writes all there is to `folder` after each."""
    results: list[PartResult] = []
    for name, measure in parts.items():
        result = PartResult(name)
        results.append(result)
        started = time.monotonic()
        print(f"\n{name}", flush=True)
        for found in _guarded(measure, options, result):
            if isinstance(found, Figure):
                result.figures.append(found)
            else:
                result.absent.append(found)
            result.seconds = time.monotonic() - started
            print(f"  {report.line(found)}", flush=True)
            report.write(folder, conditions, results)
        print(f"  {result.seconds:.0f} s", flush=True)
    return results


def _guarded(measure: Part, options: Options, result: PartResult) -> Iterator[Found]:
    """What the part finds; its end before time is one more row, not the end of the suite."""
    try:
        yield from measure(options)
    except CannotRun as reason:
        yield Absent(result.name, str(reason))
    except Exception as error:
        traceback.print_exc()
        result.failed = True
        yield Absent(result.name, f"failed ({type(error).__name__}: {error})")
