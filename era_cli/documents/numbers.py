"""Numbers in JSON. Loads nothing."""

from __future__ import annotations

import math


def numbers(values: list[float | None]) -> list[float | None]:
    """JSON has no NaN."""
    return [None if value is None or not math.isfinite(value) else value for value in values]
