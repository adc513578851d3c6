"""The fields of a recipe as options of a command: their names, types, help and limits all come from the Recipe."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Container, Mapping
from typing import Annotated, Any

import typer

from era_cli import recipes
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

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_recipe(**values: Any) -> None:
            options = {spec.name: values.pop(spec.name) for spec in fields}
            given = {name: recipes.current(name, value) for name, value in options.items() if value is not None}
            command(given=given, **values)

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            if parameter.name == "given":
                parameters += [_parameter(spec, (instead or {}).get(spec.name)) for spec in fields]
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        with_recipe.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_recipe.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_recipe

    return decorate


def _parameter(spec: dataclasses.Field[Any], annotation: Any) -> inspect.Parameter:
    if annotation is None:
        annotation = Annotated[_TYPES[str(spec.type).removesuffix(" | None")] | None, _option(spec)]
    return inspect.Parameter(spec.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


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
