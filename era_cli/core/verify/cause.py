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
    status = {check.name: check.status for check in checks}
    failed = next((name for name in status if status[name] == "differs"), None)
    if failed is None:
        return None
    now = ", ".join(changes)
    if failed == "checkpoints":
        return "a damaged or changed checkpoint: restore it from a copy"
    if failed == "images":
        return "changed data: restore them, or name their folder with --data"
    if failed == "rows" or (failed in ("steps", "epochs") and status.get("weights") == "identical"):
        return "an edited csv file or run.json: restore it from a copy"
    if failed in ("test", "predictions"):
        edited = artifacts.DOCUMENT if failed == "test" else artifacts.predictions(artifacts.TEST)
        return now or f"{edited} or {artifacts.BEST} was changed after the test"
    if sudden:
        more = f"; {now} alone would differ less" if now else ""
        return f"{artifacts.PREVIOUS}, a csv file or the recipe in run.json was changed after training{more}"
    if status["steps"] == "identical":
        changed = artifacts.BEST if failed in ("best", "result") else artifacts.LAST
        return f"{changed} was changed after training: the losses replayed are those recorded"
    if exact:
        return f"another number of threads than the {threads} in run.json, or a changed {artifacts.PREVIOUS}"
    return f"{now or 'a GPU, which adds in any order'}; rounding grows from step to step: try --steps {FEW}"
