"""Whether a run can be reproduced, on a terminal: a row per check, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from era_cli.console import tables
from era_cli.console.terminal import printable
from era_cli.results import CheckStatus, Verification
from era_cli.text import plural

_STYLES: dict[CheckStatus, str] = {"identical": "green", "within": "yellow", "differs": "red", "skipped": "dim"}


def print_verification(console: Console, header: Sequence[tuple[str, str]], verification: Verification) -> None:
    """Prints the facts of `header`, a row per check and, if the run is reproduced, the verdict."""
    console.print(tables.facts(header))
    console.print(_checks(verification))
    if verification.reproduced:
        console.print(printable(f"{verdict(verification)[0].upper()}{verdict(verification)[1:]}."))


def verdict(verification: Verification) -> str:
    """How closely a run is reproduced, in one line."""
    first, last = verification.first_step, verification.last_step
    assert first is not None
    assert last is not None
    replayed = (f"step {first:,}" if first == last else f"steps {first:,} to {last:,}") + " replayed"
    if any((check.name, check.status) == ("weights", "skipped") for check in verification.checks):
        replayed += ", weights not compared"
    now = "; ".join(verification.changes)
    if verification.status == "identical":
        where = f"even with {now}" if now else "on this machine"
        return f"bit-identical {where}: {replayed}"
    where = f"with {now}" if now else "on a GPU, whose summation order varies"
    return f"reproduced to within {verification.difference:.2g} {where}: {replayed}"


def failure(verification: Verification, run: Path) -> str:
    """Why a run is not reproduced: the first difference and its likely cause, or why nothing could be replayed."""
    check = verification.first
    assert check is not None
    if verification.status == "skipped":
        return f"{run} cannot be verified: {check.detail}"
    others = sum(other.status == "differs" for other in verification.checks) - 1
    more = f" ({plural(others, 'more check')} {'differs' if others == 1 else 'differ'})" if others else ""
    return f"{run} could not be reproduced: {check.detail}{more}; likely cause: {verification.cause}"


def _checks(verification: Verification) -> Table:
    table = tables.titled("Compared")
    table.add_column("check", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    tables.add_names(table, "what")
    for check in verification.checks:
        status: str = check.status
        if status == "within" and check.difference is not None:
            status = f"within {check.difference:.2g}"
        table.add_row(check.name, printable(status, _STYLES[check.status]), printable(check.detail))
    return table
