"""The likely cause of what differs. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence

from era_cli.results import Check
from era_cli.runs import artifacts

FEW = 20  # steps, in which rounding does not grow much

_COPY = ": restore it from a backup"
_EDITED = f"an edited csv file or run.json{_COPY}"


def likely(
    checks: Sequence[Check], changes: Sequence[str], *, origin: str | None, threads: int, exact: bool, sudden: bool
) -> str | None:
    """Why the first check that differs does, in a clause; None where none does.

    Args:
        changes: what has changed since the replayed steps were trained.
        origin: the file that they were replayed from; None if they begin a run.
        threads: the CPU threads of the replay, those that were recorded.
        exact: whether nothing may differ.
        sudden: whether the first replayed loss is further away than rounding explains.
    """
    status = {check.name: check.status for check in checks}
    failed = next((name for name in status if status[name] == "differs"), None)
    if failed is None:
        return None
    direct = {
        "images": "changed images: restore them, or give their folder with --data",
        "counts": f"an edited run.json{_COPY}",
        "checkpoints": f"a damaged or changed checkpoint{_COPY}",
        "rows": _EDITED,
        "best": f"{artifacts.BEST} was changed after training",
        "result": f"{artifacts.BEST} was changed after training",
        # Computed from the same weights: rounding explains no more than these checks allow.
        "validation": f"{artifacts.BEST} or {artifacts.METRICS} was changed after training",
        "test": f"{artifacts.DOCUMENT} or {artifacts.BEST} was changed after the test",
        "predictions": f"{artifacts.predictions(artifacts.TEST)} or {artifacts.BEST} was changed after the test",
    }
    steps, weights = status.get("steps"), status.get("weights")
    if failed in direct and (failed not in ("best", "result") or steps == "identical"):
        return direct[failed]
    # What the replay differs from may be the fault of the files.
    if failed in ("steps", "epochs") and (status.get("rows") == "differs" or weights == "identical"):
        return _EDITED
    if steps == "identical" and failed == "epochs" and weights != "differs":
        return _EDITED
    if steps == "identical":
        return f"{artifacts.LAST} was changed after training: the replayed losses are the recorded ones"
    if sudden:
        files = "a csv file" if origin is None else f"{origin}, a csv file"
        more = f"; {'; '.join(changes)} alone would cause a smaller difference" if changes else ""
        return f"{files} or the recipe in run.json was changed after training{more}"
    if exact:
        changed = "a changed recipe in run.json" if origin is None else f"a changed {origin}"
        return f"a number of threads other than the {threads} recorded, or {changed}"
    now = "; ".join(changes) or "a GPU, whose summation order varies"
    return f"{now}; rounding grows from step to step: try --steps {FEW}"
