"""`python -m tests.faults` tries every case and writes the table; `--only WORDS` some of them, without the table."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.faults import changes, fuzz, machine, power, random_kills, ranks, signals, together, writes
from tests.faults.case import Case, Fault
from tests.support import heed_signals

TABLE = Path(__file__).parents[2] / ".github" / "docs" / "faults.md"
INTRODUCTION = """# What a run survives

`make faults` disturbs `era` in every way listed below and writes this table. It runs real commands on the embedded
digits, on the CPU with one thread; the network is the real one at an eighth of its width, and figures are written but
blank. A change of the disk is a call that creates, opens for writing, writes, syncs, renames, links or removes a file
or folder; the changes are numbered as a command runs. Each fault hits a command of its own. Afterwards the harness does
what a person would do, with the command that `era` names, and compares the result bit for bit with an undisturbed run.
Where two faults leave the same files, it continues from them once. Results do not depend on the processor's speed,
except for when a timed signal or kill strikes.

The sharpest cases are part of `make test`. `tests/faults/__main__.py` says how to repeat some of the others.

"""
PROGRESS = 50  # cases between two lines that say how far it is


class Outcome(NamedTuple):
    """How a case ended; `failure` is empty if the promise held."""

    case: Case
    failure: str


def every_case() -> list[Case]:
    """The cases of every module, in the order of the table."""
    return [
        *writes.cases(),
        *random_kills.cases(),
        *power.cases(),
        *signals.cases(),
        *machine.cases(),
        *together.cases(),
        *ranks.cases(),
        *changes.cases(),
        *fuzz.cases(),
    ]


def tried(case: Case) -> Outcome:
    """Tries the case in a folder of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            case.check(Path(folder))
        except Exception:
            return Outcome(case, traceback.format_exc())
    return Outcome(case, "")


def table(outcomes: Iterable[Outcome]) -> str:
    """The outcome by class of faults, as Markdown."""
    rows: dict[Fault, list[Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault(outcome.case.fault, []).append(outcome)
    lines = ["| fault | tried | survived | what holds afterwards | test |", "|---|--:|--:|---|---|"]
    for fault, those in rows.items():
        tries = sum(outcome.case.tries for outcome in those)
        survived = sum(outcome.case.tries for outcome in those if not outcome.failure)
        link = f"[{Path(fault.test).name}](../../{fault.test})"
        lines.append(f"| {fault.title} | {tries:,} | {survived:,} | {fault.promise} | {link} |")
    return "\n".join(lines)


def main() -> None:
    """Tries the cases, as many at a time as there are cores."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="words that a case's fault or name must hold")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="one of N of these cases")
    asked = parser.parse_args()
    heed_signals()
    cases = [
        case
        for case in every_case()
        if all(word.lower() in f"{case.fault.title} {case.name}".lower() for word in asked.only)
    ][:: asked.every]
    began, outcomes = time.monotonic(), []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for outcome in pool.map(tried, cases):
            outcomes.append(outcome)
            if outcome.failure:
                print(f"FAILED {outcome.case.fault.title}: {outcome.case.name}\n{outcome.failure}", file=sys.stderr)
            if len(outcomes) % PROGRESS == 0:
                failed = sum(bool(each.failure) for each in outcomes)
                seconds = time.monotonic() - began
                print(f"{len(outcomes)} of {len(cases)}, {failed} failed, {seconds:.0f} s", file=sys.stderr)
    minutes, tries = (time.monotonic() - began) / 60, sum(case.tries for case in cases)
    total = f"{tries:,} tries in {minutes:.0f} minutes on {os.cpu_count()} cores"
    print(table(outcomes))
    if not asked.only and asked.every == 1:
        TABLE.write_text(INTRODUCTION + table(outcomes) + f"\n\n{total}.\n", encoding="utf-8")
    print(total, file=sys.stderr)
    sys.exit(any(outcome.failure for outcome in outcomes))


if __name__ == "__main__":
    main()
