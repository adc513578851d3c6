"""Text on a terminal, in a pipe or in a log file: writing never raises, and names from outside do no harm."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from rich.console import Console
from rich.text import Text

JOINERS = "\u200c\u200d"  # between letters of Persian and Indic scripts, and in emoji: no harm in them
SUBSTITUTE = "\N{REPLACEMENT CHARACTER}"


_FULL = (errno.ENOSPC, errno.EDQUOT)


class SteadyStream:
    """A text stream that falls silent when it goes bad: a reader left (`| head`), a terminal closed, a disk is full.

    `lost` is set when a full disk swallowed some of stdout: the command goes on, but has not done all it was asked.
    """

    lost: OSError | None = None

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._sound = True
        if hasattr(stream, "reconfigure") and not stream.closed:
            stream.reconfigure(errors="replace")  # an ASCII locale must not stop a training run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes, while the stream is sound; off a terminal without the blanks that Rich pads lines with."""
        with self._falling_silent():
            if self._sound:
                self._stream.write(text if self._stream.isatty() else re.sub(r" +(?=\n)", "", text))
        return len(text)

    def flush(self) -> None:
        """Flushes, while the stream is sound."""
        with self._falling_silent():
            if self._sound:
                self._stream.flush()

    @contextlib.contextmanager
    def _falling_silent(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: the file was closed
            self._sound = False
            if isinstance(error, OSError) and error.errno in _FULL and self._stream is sys.stdout:
                SteadyStream.lost = error
            with contextlib.suppress(OSError, ValueError):  # what is still buffered goes nowhere
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


class SteadyConsole(Console):
    """A Rich console on a SteadyStream; what it prints is text, never markup."""

    def __init__(self, stream: TextIO, **options: Any) -> None:
        super().__init__(file=cast(TextIO, SteadyStream(stream)), highlight=False, markup=False, emoji=False, **options)


def record_console(*, to_stderr: bool = False) -> SteadyConsole:
    """The console of what should last: stdout, or stderr where stdout belongs to a JSON document."""
    return SteadyConsole(sys.stderr if to_stderr else sys.stdout)


def print_json(document: dict[str, Any]) -> None:
    """Prints the document on stdout, in ASCII, so that no pipe's encoding refuses it; a reader may leave midway."""
    stream = SteadyStream(sys.stdout)
    stream.write(json.dumps(document, indent=2) + "\n")
    stream.flush()


def duration(seconds: float) -> str:
    """1:02:03, 2:03 or 0:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def printable(name: str, style: str = "") -> Text:
    """A name from outside, its control characters made harmless."""
    return Text("".join(char if char.isprintable() or char in JOINERS else SUBSTITUTE for char in name), style=style)
