"""Which epoch of a run is its best. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable

from era_cli.intervals import wilson_interval
from era_cli.results import EpochRow


def best(rows: Iterable[EpochRow], val_count: int) -> EpochRow:
    """The latest row whose accuracy on `val_count` validation images is as good as the highest; without them the last.

    Within one standard error counts as equally good, after the rule of Breiman et al. 1984 (Classification and
    Regression Trees, section 3.4.3): so small a lead says little, and while the learning rate falls a later epoch is
    the better guess.

    Raises:
        ValueError: there is no row.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("no epoch")
    validated = [(row.val_acc, row) for row in rows if row.val_acc is not None and 0 <= row.val_acc <= 1]
    if not validated:
        return rows[-1]
    highest = max(accuracy for accuracy, _ in validated)
    low, _ = wilson_interval(round(highest * val_count), val_count, z=1.0)
    return [row for accuracy, row in validated if accuracy >= min(low, highest)][-1]
