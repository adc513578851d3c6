"""Which epoch of a run is its best. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable

from era_cli.results import EpochRow


def best(rows: Iterable[EpochRow]) -> EpochRow:
    """The row with the highest validation accuracy, the later of equals; without validation the last row.

    Raises:
        ValueError: there is no row.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("no epoch")
    validated = [
        (row.val_acc, place) for place, row in enumerate(rows) if row.val_acc is not None and 0 <= row.val_acc <= 1
    ]
    return rows[max(validated)[1]] if validated else rows[-1]
