"""The common end of every command: what is printed, what is written, and which paths are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # these load matplotlib and Rich, which help does not need
    from matplotlib.figure import Figure
    from rich.console import Console

Document = Mapping[str, Any]
Fact = tuple[str, str]


@dataclass(frozen=True)
class File:
    """A file of a command's result, and how it is written; one without `write` is there already."""

    path: Path
    write: Callable[[Path, Document], None] | None = None
    drawn: bool = False


def figure(path: Path, draw: Callable[[], Figure]) -> File:
    """A figure, drawn when it is written."""

    def write(path: Path, document: Document) -> None:
        from era_cli.reports import style

        style.save(draw(), path)

    return File(path, write, drawn=True)


def bytes_file(path: Path, content: bytes) -> File:
    """A file of this content."""

    def write(path: Path, document: Document) -> None:
        from era_cli.files import atomic_write

        with atomic_write(path) as file:
            file.write(content)

    return File(path, write)


def json_file(path: Path) -> File:
    """The command's own JSON document as a file."""

    def write(path: Path, document: Document) -> None:
        from era_cli.files import atomic_write_json

        atomic_write_json(path, dict(document))

    return File(path, write)


def deliver(
    document: Document,
    show: Callable[[Console, Sequence[Fact]], None],
    files: Sequence[File],
    *,
    facts: Sequence[Fact] = (),
    headline: str,
    then: str = "",
    quiet: bool,
    as_json: bool,
) -> None:
    """Prints the result, writes its files, figures last, and names each of them with its path.

    Args:
        document: the result as JSON values, without `schema` and `files`.
        show: prints the result for people below `facts`, what it is a result of.
        headline: the result in one line, which is all that `--quiet` prints; nothing where it is empty.
        then: the command worth trying next.
    """
    from era_cli.console import terminal
    from era_cli.console.progress import WorkProgress, print_files, print_next
    from era_cli.files import make_folder
    from era_cli.runs import artifacts

    whole = {**with_schema(document), "files": [str(file.path) for file in files]}
    console = terminal.record_console()
    if not as_json:  # before anything is written, which may fail
        if not quiet:
            show(console, facts)
        elif headline:
            print_headline(headline)
    with WorkProgress(quiet=quiet).waiting("drawing"):
        for file in sorted(files, key=lambda file: file.drawn):  # a figure that fails costs no table
            if file.write is not None:
                make_folder(file.path.parent)
                file.write(file.path, whole)
    if as_json:
        terminal.print_json(whole)
    elif not quiet:
        print_files(console, *artifacts.opened_first(file.path for file in files))
        if then:
            print_next(console, then)


def print_headline(text: str) -> None:
    """Prints the result in one line, which is all that `--quiet` prints."""
    from era_cli.console import terminal

    terminal.record_console().print(terminal.printable(text), soft_wrap=True)


def with_schema(document: Document) -> dict[str, Any]:
    """A JSON document with the number of its schema in front."""
    from era_cli.old_names import with_old_names
    from era_cli.runs.document import SCHEMA

    named: dict[str, Any] = with_old_names(dict(document))
    return {"schema": SCHEMA, **named}
