"""Whether a run can be reproduced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CheckStatus = Literal["identical", "within", "differs", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison of what a run recorded with what was recomputed.

    `difference` is the largest one that rounding explains (`within`), or the one that was measured: absolute for
    accuracies, otherwise relative. `detail` says what was compared, what differs first, or why the check was skipped.
    """

    name: str
    status: CheckStatus
    detail: str
    difference: float | None = None


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The checks of a run, in the order of their causes, and what they amount to.

    The steps `first_step` to `last_step` were replayed, none where these are None. `changes` are what has changed
    since the run was trained; `cause` is the likely cause of the first difference.
    """

    checks: tuple[Check, ...]
    first_step: int | None
    last_step: int | None
    changes: tuple[str, ...]
    cause: str | None

    @property
    def status(self) -> CheckStatus:
        """`differs` if any check does; `skipped` if no step could be replayed, so that nothing is shown."""
        statuses = {check.status for check in self.checks}
        if "differs" in statuses:
            return "differs"
        if self.last_step is None:
            return "skipped"
        return "within" if "within" in statuses else "identical"

    @property
    def reproduced(self) -> bool:
        """Whether steps were replayed, and all that was compared is identical or differs by rounding alone."""
        return self.status in ("identical", "within")

    @property
    def first(self) -> Check | None:
        """The check that failed first."""
        failed = (check for check in self.checks if check.status == self.status)
        return next(failed, None) if self.status in ("differs", "skipped") else None

    @property
    def difference(self) -> float:
        """The largest difference of what is within rounding, 0 where all is identical."""
        return max((check.difference or 0.0 for check in self.checks if check.status == "within"), default=0.0)
