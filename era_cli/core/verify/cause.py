"""The likely cause of what differs. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence

from era_cli.results import Check
from era_cli.runs import artifacts

FEW = 20  # steps, in which rounding does not grow much


def likely(checks: Sequence[Check], changes: Sequence[str], *, threads: int, exact: bool, sudden: bool) -> str | None:
    """Why the first check that differs does, in a clause; None where none does.

    Args:
        changes: what is another now than in the run.
        threads: the CPU threads of the replay, those that run.json names.
        exact: whether nothing may differ.
        sudden: whether the first replayed loss is further away than rounding explains.
    """
    failed = next((check.name for check in checks if check.status == "differs"), None)
    if failed is None:
        return None
    now = ", ".join(changes)
    if failed == "checkpoints":
        return "a damaged or changed checkpoint: restore it from a copy"
    if failed == "images":
        return "changed data: restore them, or name their folder with --data"
    weights = next((check.status for check in checks if check.name == "weights"), None)
    if failed in ("steps", "epochs", "rows") and weights != "differs":
        return "an edited csv file or run.json: restore it from a copy"
    if failed in ("test", "predictions"):
        edited = artifacts.DOCUMENT if failed == "test" else artifacts.predictions(artifacts.TEST)
        return now or f"{edited} or {artifacts.BEST} was changed after the test"
    if sudden:
        more = f"; {now} alone would differ less" if now else ""
        return f"{artifacts.PREVIOUS}, a csv file or the recipe in run.json was changed after training{more}"
    if not exact:
        return f"{now or 'a GPU, which adds in any order'}; rounding grows from step to step: try --steps {FEW}"
    if failed in ("weights", "optimizer"):
        return f"{artifacts.LAST} was changed after training: every replayed loss is the recorded one"
    return f"rounding, as of another number of threads than the {threads} in run.json"
