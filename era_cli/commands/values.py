"""The values of options: a wrong one is refused in one sentence, and help says in one notation what each may be."""

from __future__ import annotations

import copy
import types
import typing
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from era_cli.choices import REMOVED
from era_cli.commands import signatures
from era_cli.errors import UsageError
from era_cli.text import did_you_mean, quoted, without_controls

_METAVARS: dict[Any, str] = {str: "TEXT", Path: "PATH", int: "INT", float: "FLOAT"}
_MOST_NAMED = 20  # choices in an error
_KINDS = {int: "a whole number", float: "a number"}


def checked(command: Callable[..., None]) -> Callable[..., None]:
    """The command, its options' numbers and choices checked here rather than by Typer, whose sentences name no value.

    Raises:
        UsageError: when the command is called with a value that its option does not take.
    """

    parameters = [
        parameter.replace(annotation=_checked(parameter.annotation)) for parameter in signatures.parameters(command)
    ]
    return signatures.signed(lambda **values: command(**values), command, parameters)


def wrong_choice(option: str, given: str, choices: Iterable[str]) -> UsageError:
    """Refuses an option's value: names its choices, the first of many, and the closest one."""
    *names, last = choices
    end = last if len(names) <= _MOST_NAMED else f"one of {len(names) + 1 - _MOST_NAMED} more"
    known = " or ".join(filter(None, (", ".join(names[:_MOST_NAMED]), end)))
    close = did_you_mean(given, [*names, last])
    return UsageError(without_controls(f"{option} is {quoted(given)}, but must be {known}{close}"))


def _checked(annotation: Any) -> Any:
    whole, info = typing.get_args(annotation)
    kind = next(kind for kind in typing.get_args(whole) or (whole,) if kind is not types.NoneType)
    info = copy.copy(info)
    option = info.default  # under Annotated, the first of its declarations
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        names = list(kind)
        info.metavar = info.metavar or "|".join(names)
        info.parser = _choice(kind, option)
        info.autocompletion = lambda incomplete: [name for name in names if name.startswith(incomplete)]
    elif kind in _KINDS:
        info.metavar = info.metavar or _METAVARS[kind]
        info.parser = _number(kind, option, info.min, info.max)
        info.min = info.max = None
    elif info.metavar is None:
        info.metavar = _METAVARS.get(kind)
    return Annotated[whole, info]


def _choice(kind: type[StrEnum], option: str) -> Callable[[str], StrEnum]:
    def parse(text: str) -> StrEnum:
        if text in set(kind):
            return kind(text)
        if isinstance(instead := REMOVED.get(text), kind):
            raise UsageError(f"{option} {text} is no longer available: use {option} {instead}")
        raise wrong_choice(option, text, kind)

    return parse


def _number(kind: type, option: str, low: float | None, high: float | None) -> Callable[[str], Any]:
    what = _KINDS[kind]
    if high is not None:
        what += f" in [{low}, {high}]"
    elif low is not None:
        what += f" of at least {low}"

    def parse(text: str) -> Any:
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not (low is None or number >= low) or not (high is None or number <= high):
            raise UsageError(f"{option} is {quoted(text)}, but must be {what}")
        return number

    return parse
