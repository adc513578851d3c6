"""A learning-rate sweep on a terminal: how it ended, and the learning rates that it suggests."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from era_cli.console import tables
from era_cli.results import LrSweep


def print_sweep(console: Console, header: Sequence[tuple[str, str]], sweep: LrSweep) -> None:
    """Prints the facts of `header`, how each seed's sweep ended, and the suggestions."""
    facts = tables.facts(header)
    for seed, stop in zip(sweep.seeds, sweep.stops, strict=True):
        name = "ended" if len(sweep.seeds) == 1 else f"seed {seed}"
        facts.add_row(name, stop or f"reached {sweep.rates[-1]:g} without diverging")
    console.print(facts)
    if not sweep.suggestions or sweep.recommended is None:
        return
    console.print(_suggestions(sweep))
    console.print(Text(f"Recommended one-cycle peak: --max-lr {sweep.recommended.lr:.3g} ({sweep.reason})."))


def _suggestions(sweep: LrSweep) -> Table:
    many = len(sweep.seeds) > 1
    table = tables.titled("Suggested learning rates")
    table.add_column("rule", no_wrap=True)
    table.add_column("lr", justify="right", no_wrap=True)
    if many:
        table.add_column("over seeds", justify="right", no_wrap=True)
    table.add_column("")
    for suggestion in sweep.suggestions:
        chosen = sweep.recommended is not None and suggestion.rule == sweep.recommended.rule
        low, high = suggestion.spread
        spread = (f"{low:.3g} to {high:.3g}",) if many else ()
        table.add_row(
            suggestion.rule,
            f"{suggestion.lr:.3g}",
            *spread,
            "recommended" if chosen else "",
            style="bold green" if chosen else "",
        )
    return table
