"""Output on a terminal, in a pipe or in a log file: writing never raises, and names from outside do no harm."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, cast

from rich.console import Console
from rich.text import Text

from era_cli.text import without_controls

_FULL = (errno.ENOSPC, errno.EDQUOT)
UNLIMITED = 10_000  # columns


class SteadyStream:
    """A text stream that goes silent when it breaks: the reader left (`| head`), the terminal closed, the disk is full.

    `lost` is set when a full disk swallowed part of stdout: the command continues, but its output is incomplete.
    """

    lost: OSError | None = None

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._works = True
        if hasattr(stream, "reconfigure") and not stream.closed:
            stream.reconfigure(errors="replace")  # an ASCII locale must not stop a training run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes unless the stream is broken; off a terminal without the spaces that Rich pads lines with."""
        with self._silencing():
            if self._works:
                self._stream.write(text if self._stream.isatty() else re.sub(r" +(?=\n)", "", text))
        return len(text)

    def flush(self) -> None:
        """Flushes unless the stream is broken."""
        with self._silencing():
            if self._works:
                self._stream.flush()

    @contextlib.contextmanager
    def _silencing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: the file was closed
            self._works = False
            if isinstance(error, OSError) and error.errno in _FULL and self._stream is sys.stdout:
                SteadyStream.lost = error
            with contextlib.suppress(OSError, ValueError):  # what is still buffered is dropped
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


class SteadyConsole(Console):
    """A Rich console on a SteadyStream; what it prints is text, never markup.

    Off a terminal lines are as long as what they hold, unless COLUMNS says otherwise.
    """

    def __init__(self, stream: TextIO, **options: Any) -> None:
        super().__init__(file=cast(TextIO, SteadyStream(stream)), highlight=False, markup=False, emoji=False, **options)
        if not self.is_terminal and "width" not in options and not os.environ.get("COLUMNS"):
            self.width = UNLIMITED


def record_console(*, to_stderr: bool = False) -> SteadyConsole:
    """The console for results: stdout, or stderr where stdout belongs to a JSON document."""
    return SteadyConsole(sys.stderr if to_stderr else sys.stdout)


def print_json(document: dict[str, Any]) -> None:
    """Prints the document on stdout, in ASCII, which every encoding takes; the reader may leave midway."""
    stream = SteadyStream(sys.stdout)
    stream.write(json.dumps(document, indent=2) + "\n")
    stream.flush()


def duration(seconds: float) -> str:
    """1:02:03, 2:03 or 0:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def printable_lines(names: Iterable[str]) -> Text:
    """Names from outside, a line each."""
    return Text("".join(f"{without_controls(name)}\n" for name in names))


def printable(name: str, style: str = "") -> Text:
    """A name from outside, its control characters replaced."""
    return Text(without_controls(name), style=style)
