"""Measurements; not part of the tests. Each prints ratios taken in one run, the two sides in turn."""
