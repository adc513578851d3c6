"""The signatures of commands, of which Typer makes their options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from inspect import Parameter
from typing import Any

Command = Callable[..., None]


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    """The parameters of a command or a class, their annotations evaluated."""
    return list(inspect.signature(function, eval_str=True).parameters.values())


def signed(called: Command, command: Command, parameters: Iterable[Parameter]) -> Command:
    """`called` in place of `command`, under a signature of these parameters, keywords all of them."""
    keywords = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    functools.update_wrapper(called, command)
    called.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in keywords}
    return called


def grouped(command: Command, group: str, members: list[Parameter], build: Callable[..., Any]) -> Command:
    """The command with these parameters in place of its parameter `group`, which is `build` of their values."""

    def called(**values: Any) -> None:
        own = {member.name: values.pop(member.name) for member in members}
        command(**{group: build(**own)}, **values)

    whole: list[Parameter] = []
    for parameter in parameters(command):
        whole += members if parameter.name == group else [parameter]
    return signed(called, command, whole)
