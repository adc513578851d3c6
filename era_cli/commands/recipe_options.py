"""The fields of a recipe as options of a command: their names, types, help and limits all come from the Recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Mapping
from inspect import Parameter
from typing import Annotated, Any

import typer

from era_cli import recipes
from era_cli.commands import signatures
from era_cli.recipes import Recipe

_TYPES: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str}


def takes_recipe(*, without: Container[str] = (), instead: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """Gives a command an option for every field of a recipe, in place of its parameter `given`.

    The command is handed those that the person gave, as a dictionary by field.

    Args:
        without: fields that mean nothing to the command.
        instead: annotations of its own for some fields.
    """
    fields = [spec for spec in dataclasses.fields(Recipe) if spec.name != "name" and spec.name not in without]
    members = [_parameter(spec, (instead or {}).get(spec.name)) for spec in fields]

    def given(**options: Any) -> dict[str, Any]:
        return {name: recipes.current(name, value) for name, value in options.items() if value is not None}

    return lambda command: signatures.grouped(command, "given", members, given)


def _parameter(spec: dataclasses.Field[Any], annotation: Any) -> Parameter:
    if annotation is None:
        annotation = Annotated[_TYPES[str(spec.type).removesuffix(" | None")] | None, _option(spec)]
    return Parameter(spec.name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _option(spec: dataclasses.Field[Any]) -> Any:
    flag = recipes.flag(spec.name)
    choices = spec.metadata.get("choices")
    return typer.Option(
        f"{flag}/--no-{flag.removeprefix('--')}" if spec.type == "bool" else flag,
        help=help_text(spec.name),
        show_default=False,
        metavar="|".join(choices) if choices else None,
        rich_help_panel=spec.metadata["panel"],
    )


def help_text(name: str, more: str = "") -> str:
    """The help of a field's option, with what `default` sets it to; `more` comes in between."""
    spec = Recipe.__dataclass_fields__[name]
    value = getattr(recipes.default(), name)
    shown = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
    text = spec.metadata["help"] + more
    return text if value is None else text + default_text(f"{shown:g}" if isinstance(shown, float) else str(shown))


def default_text(shown: str) -> str:
    """How help names the default of an option whose own default is None, in Rich's markup."""
    return f" [dim]\\[default: {shown}][/dim]"
