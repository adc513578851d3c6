"""Runs at a glance: a row each, and everything about one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from era_cli.recipes import Recipe
from era_cli.text import setting


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run at a glance, `path` being its folder.

    `status` is that of run.json, but `interrupted` if it says `running` and no process trains the run, or `unreadable`
    where run.json cannot be read: `problem` then says why, and all but `started` and `size` is None. `source` is what
    it was trained on, `changes` the fields in which it differs from its named `recipe`, except for those that the data
    decided. `val_acc` is that of the best epoch so far, `seconds` the wall time of all sessions, `size` in bytes.
    """

    path: Path
    status: str
    started: str
    size: int
    source: str | None = None
    recipe: str | None = None
    changes: Mapping[str, Any] | None = None
    epochs: int | None = None
    planned_epochs: int | None = None
    val_acc: float | None = None
    test_acc: float | None = None
    seconds: float | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """A file of a run: its path in the run folder, what it holds (empty if era did not write it), and its bytes."""

    path: str
    title: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A field of a run's recipe; `instead` is what its named recipe has, in words, where a person `changed` it."""

    name: str
    value: Any
    instead: str
    changed: bool


@dataclass(frozen=True, kw_only=True)
class RunDetails:
    """Everything about a run that is not in its run.json; `usual` is what its named recipe sets."""

    summary: RunSummary
    recipe: Recipe
    usual: Recipe
    files: tuple[RunFile, ...]

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Every field of the recipe but its name."""
        return tuple(self._setting(name, value) for name, value in vars(self.recipe).items() if name != "name")

    def _setting(self, name: str, value: Any) -> Setting:
        usual, changed = getattr(self.usual, name), name in (self.summary.changes or {})
        by_data = "decided by the data" if value != usual else ""
        return Setting(name=name, value=value, instead=setting(usual) if changed else by_data, changed=changed)


@dataclass(frozen=True, kw_only=True)
class Slimmed:
    """What slimming a run removed, by file, and how many bytes that freed of those it had."""

    removed: tuple[str, ...]
    freed: int
    left: int
