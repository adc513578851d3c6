"""What computed a run and is another now. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable

from era_cli.runs.document import Environment


def changes(recorded: Iterable[Environment], now: Environment) -> tuple[str, ...]:
    """Each processor, version or number of threads of the sessions `recorded` that is not that of `now`.

    Threads count on a CPU alone.
    """
    found: dict[str, None] = {}
    for session in recorded:
        for what, then, here in _pairs(session, now):
            if then != here:
                found[f"another {what} ({then} then, {here} now)"] = None
    return tuple(found)


def _pairs(session: Environment, now: Environment) -> list[tuple[str, str, str]]:
    pairs = [
        ("processor", session.device.name, now.device.name),
        ("torch", session.versions.torch, now.versions.torch),
        ("lightning", session.versions.lightning, now.versions.lightning),
        ("era", session.versions.era, now.versions.era),
        ("precision", session.device.precision, now.device.precision),
    ]
    if session.device.accelerator == now.device.accelerator == "cpu":
        pairs.append(("number of threads", str(session.device.threads), str(now.device.threads)))
    return pairs
