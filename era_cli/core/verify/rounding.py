"""Whether rounding explains a difference: never on the same machine, within bounds that are set beforehand on another.

Loads no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from era_cli.results import CheckStatus

# The machine epsilon of the coarsest arithmetic behind each precision: TF32, which GPUs use for convolutions in fp32,
# has the 10 bits of fp16, bf16 has 7. Two processors that compute one step from the same weights differ by less.
EPSILON = {"fp32": 2.0**-10, "fp16": 2.0**-10, "bf16": 2.0**-7}
# Rounding grows from step to step, as training is chaotic; past this it says nothing.
DRIFT = 0.05


@dataclass(frozen=True)
class Rounding:
    """What may differ: nothing where `exact`, else what rounding in `precision` explains."""

    exact: bool
    precision: str

    @property
    def one_step(self) -> float:
        """The relative difference allowed of what was computed in one step from the same weights."""
        return EPSILON[self.precision]

    def judge(self, difference: float, most: float) -> CheckStatus:
        """`identical` without a relative difference, `within` one of at most `most` where rounding may differ."""
        if difference == 0:
            return "identical"
        return "within" if not self.exact and difference <= most else "differs"  # also where it is NaN


def relative(recorded: float | None, computed: float | None) -> float:
    """The relative difference of two numbers; infinite where one is missing or NaN."""
    if recorded == computed:
        return 0.0
    return distance(recorded, computed) / max(abs(recorded or 0.0), abs(computed or 0.0))


def distance(recorded: float | None, computed: float | None) -> float:
    """How far two numbers are apart, as is usual for accuracies; infinite where one is missing or NaN."""
    if recorded == computed:
        return 0.0
    if recorded is None or computed is None or not math.isfinite(recorded - computed):
        return math.inf
    return abs(recorded - computed)
