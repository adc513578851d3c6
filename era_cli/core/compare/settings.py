"""What differs between two groups of runs besides their seeds. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from era_cli.results import SettingChange
from era_cli.runs.document import RunDocument

_DATA = ("source", "content_hash")


def differences(a: Sequence[RunDocument], b: Sequence[RunDocument]) -> tuple[SettingChange, ...]:
    """Recipe, data, device, versions and commit, where these differ between the sides or within one.

    The settings that all runs of a side share come first. Seeds are left out, and so are paths of data.
    """
    sides = [[_settings(document) for document in documents] for documents in (a, b)]
    found = []
    for name in sides[0][0]:
        values = [_distinct([run[name] for run in side]) for side in sides]
        setting = SettingChange(name=name, a=values[0], b=values[1])
        if setting.varies or setting.a != setting.b:
            found.append(setting)
    return tuple(sorted(found, key=lambda setting: setting.varies))


def _settings(document: RunDocument) -> dict[str, Any]:
    recipe = {**vars(document.recipe), "image_size": document.data.image_size}
    del recipe["seed"]
    groups = {
        "recipe": recipe,
        "data": {name: getattr(document.data, name) for name in _DATA},
        "device": vars(document.device),
        "versions": vars(document.versions),
    }
    named = {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}
    return {**named, "git_commit": document.git_commit}


def _distinct(values: Sequence[Any]) -> tuple[Any, ...]:
    """Each value once, in order of appearance; 1, 1.0 and True differ."""
    return tuple({(type(value), value): value for value in values}.values())
