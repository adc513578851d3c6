"""Notes and progress bars. Rendering never raises into the work."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from era_cli.console.terminal import SteadyConsole, printable
from era_cli.listener import Advance, Listener
from era_cli.text import plural


class WorkProgress(Listener):
    """Shows notes, and a live bar on a terminal.

    Args:
        quiet: show nothing but notes.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live = SteadyConsole(sys.stderr)

    def note(self, text: str) -> None:
        """Prints one sentence on stderr."""
        self._live.print(printable(f"Note: {text}", "yellow"), soft_wrap=True)

    @contextlib.contextmanager
    def work(self, what: str, total: int, unit: str = "images") -> Iterator[Advance]:
        """Shows a bar on a terminal, one line elsewhere."""
        if self._quiet:
            yield lambda done: None
            return
        if not self._live.is_terminal:
            self._live.print(Text(f"{what}: {plural(total, unit.removesuffix('s'))}"), soft_wrap=True)
            yield lambda done: None
            return
        progress = bar(self._live, Rate(unit))
        task = progress.add_task(what, total=total)
        with progress:
            yield lambda done: progress.update(task, advance=done)


class Rate(ProgressColumn):
    """Units per second; a step of the bar counts as `units_per_step`."""

    def __init__(self, unit: str, units_per_step: int = 1) -> None:
        super().__init__()
        self._unit = unit
        self._units_per_step = units_per_step

    def render(self, task: Task) -> Text:
        if not task.speed:
            return Text("")
        rate = task.speed * self._units_per_step
        return Text(f"{rate / 1e6:.1f} MB/s" if self._unit == "bytes" else f"{rate:,.0f} {self._unit}/s")


def bar(console: Console, *columns: ProgressColumn) -> Progress:
    """A bar that disappears when it is done, with the given columns at its end."""
    # Rich must not redirect stdout, where results go, to stderr.
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        refresh_per_second=4,
    )


def print_files(console: Console, files: Sequence[Path]) -> None:
    """Prints the path of each file on a line of its own, unbroken, so that a script can read it."""
    for file in files:
        console.print(Text(str(file)), soft_wrap=True)
