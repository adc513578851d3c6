"""The command worth trying next, as a line that can be copied."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from era_cli.files import expanded
from era_cli.recipes import flag

_DEFAULTS: dict[str, Any] = {"run": "latest", "runs_dir": Path("runs"), "gpus": "auto"}


def line(command: str, **options: Any) -> str:
    """`era COMMAND` with its options, quoted for a shell.

    An option that is None or has its default is left out, as is a data directory that comes from the environment; a
    list repeats its option, and False is `--no-...`.
    """
    defaults = dict(_DEFAULTS)
    if from_environment := os.environ.get("ERA_DATA_DIR"):
        defaults["data_dir"] = expanded(Path(from_environment))
    words = ["era", command]
    for name, value in options.items():
        if value is None or value == defaults.get(name):
            continue
        option = flag(name)
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option.removeprefix('--')}")
        else:
            for each in value if isinstance(value, list | tuple) else [value]:
                words += [option, str(each)]
    return shlex.join(words)
