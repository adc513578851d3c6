"""Every benchmark of era: ratios taken in one run, the two sides in turn.

python -m tests.benchmarks [--rounds 3] [--only NAME ...] [--quick] [--run FOLDER] [--out FOLDER]

Prints each figure, and writes FOLDER/results.json and FOLDER/results.md after each. The machine should do nothing
else meanwhile. CIFAR-10 is used where ERA_DATA_DIR (or era's own cache) has it, else images that are made up.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.benchmarks import suite
from tests.benchmarks.conditions import conditions
from tests.benchmarks.measuring import Options


def main() -> int:
    """Runs the parts that were asked for; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="rounds of each figure; by default 3, with --quick 1")
    parser.add_argument("--only", nargs="+", choices=suite.NAMES, default=suite.NAMES, metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run? The figures mean nothing.")
    parser.add_argument("--run", type=Path, help="a finished run that startup reads a copy of; else it trains one")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"), metavar="FOLDER")
    asked = parser.parse_args()
    # Ends the suite as an exception does, so that temporary folders, groups and processes are cleared away.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    rounds = (1 if asked.quick else 3) if asked.rounds is None else asked.rounds
    if rounds < 1:
        parser.error(f"--rounds {rounds} measures nothing")
    options = Options(rounds=rounds, quick=asked.quick, run=asked.run)
    facts = {
        **conditions(),
        "rounds": str(rounds),
        **({"quick": "yes: tiny sizes, the figures mean nothing"} if asked.quick else {}),
    }
    for name, value in facts.items():
        print(f"{name}: {value}")
    results = suite.run({name: suite.part(name) for name in asked.only}, options, facts, asked.out)
    print(f"\n{asked.out / 'results.md'}\n{asked.out / 'results.json'}")
    return int(any(result.failed for result in results))


if __name__ == "__main__":
    sys.exit(main())
