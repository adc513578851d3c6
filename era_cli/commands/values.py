"""The values of options: a wrong one is refused in one sentence, and help says in one notation what each may be."""

from __future__ import annotations

import copy
import functools
import inspect
import types
import typing
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from era_cli.errors import UsageError
from era_cli.recipes import flag
from era_cli.text import did_you_mean

_METAVARS: dict[Any, str] = {str: "TEXT", Path: "PATH", int: "INT", float: "FLOAT"}
_KINDS = {int: "a whole number", float: "a number"}


def checked(command: Callable[..., None]) -> Callable[..., None]:
    """The command, its options' numbers and choices checked here rather than by Typer, whose sentences name no value.

    Raises:
        UsageError: when the command is called with a value that its option does not take.
    """

    @functools.wraps(command)
    def with_checks(**values: Any) -> None:
        command(**values)

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=_checked(parameter))
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
    ]
    with_checks.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_checks.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_checks


def _checked(parameter: inspect.Parameter) -> Any:
    whole, info = typing.get_args(parameter.annotation)
    kind = next(kind for kind in typing.get_args(whole) or (whole,) if kind is not types.NoneType)
    option, info = flag(parameter.name), copy.copy(info)
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
        try:
            return kind(text)
        except ValueError:
            *names, last = kind
            raise UsageError(
                f"{option} is {text!r}, but must be {', '.join(names)} or {last}{did_you_mean(text, kind)}"
            ) from None

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
            raise UsageError(f"{option} is {str(text)!r}, but must be {what}")
        return number

    return parse
