"""Measurements; not part of the tests. Each prints ratios taken in one run, the two sides in turn.

`make bench` or `python -m tests.benchmarks` runs all but `accuracy`, `pointing` and `processes_curves`; most modules
also run by themselves.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of this checkout
