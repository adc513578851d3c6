"""Notes, progress bars and the files of a result. Rendering never raises into the work."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress import Progress, ProgressColumn, Task
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from era_cli.console.terminal import SteadyConsole, duration, printable
from era_cli.listener import Advance, Listener
from era_cli.text import one_line, plural

_LONGEST_BAR, _SHORTEST_BAR = 40, 8  # columns


class WorkProgress(Listener):
    """Shows notes, and a live bar on a terminal.

    Args:
        quiet: show nothing but warnings.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live = SteadyConsole(sys.stderr)
        self._spinner: Live | None = None

    def note(self, text: str) -> None:
        """Prints one sentence on stderr."""
        if not self._quiet:
            self._say(f"Note: {text}")

    def warn(self, text: str) -> None:
        """Prints one sentence on stderr, even if quiet."""
        self._say(f"Warning: {text}")

    def _say(self, sentence: str) -> None:
        self._live.print(printable(one_line(sentence), "yellow"), soft_wrap=not self._live.is_terminal)

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Says on a terminal what is being waited for, until a bar takes its place or the block is done."""
        if self._quiet or not self._live.is_terminal or self._live.is_dumb_terminal:
            yield
            return
        # "line" is ASCII. Rich must not redirect the streams: what is imported meanwhile may keep them.
        self._spinner = Live(
            Spinner("line", f"{what}..."),
            console=self._live,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            refresh_per_second=8,
        )
        try:
            with self._spinner:
                yield
        finally:
            self._spinner = None

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
        if self._spinner is not None:  # Rich shows one live display at a time
            self._spinner.stop()
        progress = bar(WorkLine(self._live, unit), self._live)
        task = progress.add_task(what, total=total)
        with progress:
            yield lambda done: progress.update(task, advance=done)


class WorkLine(ProgressColumn):
    """What is done, a bar, how much of it, the rate and the time left.

    On a narrow terminal the bar goes first, then how much, then the rate: the time left stays.

    Args:
        per_step: units in a step of the bar.
        seconds_left: where the work ends later than the bar.
    """

    def __init__(
        self, console: Console, unit: str, per_step: int = 1, seconds_left: Callable[[], float | None] | None = None
    ) -> None:
        super().__init__()
        self._console = console
        self._unit = unit
        self._per_step = per_step
        self._seconds_left = seconds_left

    def render(self, task: Task) -> Table:
        steps_per_second = _speed(task)
        scale = 1e6 if self._unit == "bytes" else 1
        if self._seconds_left is not None:
            left = self._seconds_left()
        else:
            left = None if steps_per_second is None else task.remaining and task.remaining / steps_per_second
        optional = [
            Text(f"{task.completed / scale:,.0f}/{(task.total or 0) / scale:,.0f}"),
            Text("" if steps_per_second is None else rate(steps_per_second * self._per_step, self._unit)),
            Text("" if left is None else f"{duration(left)} left", style="cyan"),
        ]
        what = Text(task.description, overflow="ellipsis", no_wrap=True)
        cells = [cell for cell in optional if cell.plain]
        while len(cells) > 1 and self._room(what, *cells) < 0:
            del cells[0]
        width = min(_LONGEST_BAR, self._room(what, *cells) - 1)
        line = Table.grid(padding=(0, 1))
        if width >= _SHORTEST_BAR:
            line.add_row(what, ProgressBar(task.total or 1, task.completed, width=width), *cells)
        else:
            what.truncate(max(1, what.cell_len + min(0, self._room(what, *cells))), overflow="ellipsis")
            line.add_row(what, *cells)
        return line

    def _room(self, *cells: Text) -> int:
        """The columns that these cells and the spaces between them leave."""
        return self._console.width - sum(cell.cell_len + 1 for cell in cells) + 1


def _speed(task: Task) -> float | None:
    """Steps per second, or None before the first: of late, or since the start if each takes longer than that."""
    since_start = task.completed - task.fields.get("first", 0)
    if since_start <= 0:
        return None
    return task.speed or (since_start / task.elapsed if task.elapsed else None)


def rate(per_second: float, unit: str) -> str:
    """1,234 images/s, 4.2 steps/s, 7.5 s/step or 12.3 MB/s."""
    if unit == "bytes":
        return f"{per_second / 1e6:.1f} MB/s"
    if per_second >= 1:
        return f"{per_second:,.{0 if per_second >= 9.95 else 1}f} {unit}/s"
    return f"{1 / per_second:,.{0 if per_second <= 1 / 99.95 else 1}f} s/{unit.removesuffix('s')}"


def bar(line: WorkLine, console: Console) -> Progress:
    """A bar that disappears when it is done."""
    # Rich must not redirect stdout, where results go, to stderr.
    return Progress(
        line,
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        refresh_per_second=4,
    )


def print_files(console: Console, opened: Sequence[Path], others: Sequence[Path] = ()) -> None:
    """Prints the files that a person opens, an unbroken line each, and the others in a few words below."""
    for file in opened:
        console.print(printable(str(file)), soft_wrap=True)
    if not others:
        return
    try:
        folder = Path(os.path.commonpath([file.parent for file in others]))
        where, names = f"also in {folder}", [str(file.relative_to(folder)) for file in others]
    except ValueError:  # one is relative, another is not, or they have no folder in common
        where, names = "also", [str(file) for file in others]
    console.print(printable(f"{where}: {', '.join(names)}", "dim"))


def print_next(console: Console, command: str) -> None:
    """Prints the command worth trying next, unbroken, so that it can be copied."""
    console.print(printable(f"Next: {command}", "dim"), soft_wrap=True)
