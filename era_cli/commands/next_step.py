"""The command worth trying next, as a line that can be copied."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from era_cli.recipes import flag

_DEFAULTS = {"run": "latest", "runs_dir": Path("runs"), "gpus": "auto"}


def line(command: str, **options: Any) -> str:
    """`era COMMAND` with its options, quoted for a shell.

    An option that is None or has its default is left out, a list repeats its option, and False is `--no-...`.
    """
    words = ["era", command]
    for name, value in options.items():
        if value is None or value == _DEFAULTS.get(name):
            continue
        option = flag(name)
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option.removeprefix('--')}")
        else:
            for each in value if isinstance(value, list | tuple) else [value]:
                words += [option, f"{each:g}" if isinstance(each, float) else str(each)]
    return shlex.join(words)
