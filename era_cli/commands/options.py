"""Options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from era_cli import recipes
from era_cli.errors import UsageError
from era_cli.results import Split

TRAINING_PANEL = "Training"
DATA_PANEL = "Data"
OUTPUT_PANEL = "Output"
FORMATS = (".png", ".svg", ".pdf")

Layer = Literal["prep", "layer1", "layer2", "layer3"]

_DEFAULT = recipes.default()
_DEBUG_KEY = "era_cli.debug"


def recipe_option(name: str, panel: str = TRAINING_PANEL) -> Any:
    """The option of one recipe field: help and limits come from the field, the shown default from `default`."""
    spec = recipes.Recipe.__dataclass_fields__[name]
    value = getattr(_DEFAULT, name)
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    choices = spec.metadata.get("choices")
    return typer.Option(
        recipes.flag(name),
        help=spec.metadata["help"] + ("" if value is None or value is False else default_text(shown)),
        show_default=False,
        metavar="|".join(choices) if choices else None,
        rich_help_panel=panel,
    )


def default_text(shown: str) -> str:
    """How help names the default of an option whose own default is None, in Rich's markup."""
    return f" [dim]\\[default: {shown}][/dim]"


def _set_debug(context: typer.Context, value: bool) -> bool:
    context.meta[_DEBUG_KEY] = value or context.meta.get(_DEBUG_KEY, False)
    return value


def debug_asked(context: typer.Context) -> bool:
    """Whether `--debug` was given to any command of this call."""
    return bool(context.meta.get(_DEBUG_KEY, False))


def _check_gpus(value: str) -> str:
    if value in ("auto", "0", "1"):
        return value
    if value.isdecimal():
        raise UsageError(f"--gpus {value} asks for several GPUs, and era trains on one at most as yet: use --gpus 1")
    raise UsageError(f"--gpus is {value!r}, but must be auto, 0 or 1")


def check_format(path: Path | None) -> Path | None:
    """Refuses a figure file whose format is unknown before any work is done."""
    if path is None:
        return None
    path = path.expanduser()
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"--out {path} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}: that chooses the format"
        )
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder: name a file in it")
    return path


def out_option(text: str) -> Any:
    """The option that says where a figure goes."""
    return typer.Option(
        "--out", help=text, show_default=False, metavar="FILE", callback=check_format, rich_help_panel=OUTPUT_PANEL
    )


RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="Named settings to start from: default, or the course project's session12 (SGD) and session10 (Adam)."
        " Options replace single ones; the defaults shown here are those of default." + default_text("default"),
        show_default=False,
        metavar="|".join(recipes.RECIPES),
        rich_help_panel=TRAINING_PANEL,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse a folder with an unreadable image instead of leaving the image out.",
        rich_help_panel=DATA_PANEL,
    ),
]
DATA_OPTION = typer.Option(
    "--data",
    help="cifar10, digits (embedded, needs no network), or a folder of class folders." + default_text("cifar10"),
    show_default=False,
    metavar="cifar10|digits|PATH",
    rich_help_panel=DATA_PANEL,
)
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="ERA_DATA_DIR",
        help="Where CIFAR-10 lies or is downloaded to; by default the user's cache folder.",
        show_default=False,
        rich_help_panel=DATA_PANEL,
    ),
]
RunsDir = Annotated[
    Path,
    typer.Option("--runs-dir", help="The folder that holds the run folders.", rich_help_panel=OUTPUT_PANEL),
]
Gpus = Annotated[
    str,
    typer.Option(
        "--gpus",
        help="auto takes a GPU where there is one; 0 is the CPU.",
        metavar="auto|0|1",
        callback=_check_gpus,
        rich_help_panel=TRAINING_PANEL,
    ),
]
RunName = Annotated[
    str,
    typer.Option("--run", help="A run's name, its path, or latest, the one begun last.", metavar="RUN"),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        help="best, last, or the path of a checkpoint; needed for a run that is not finished." + default_text("best"),
        show_default=False,
        metavar="best|last|PATH",
    ),
]
SplitOption = Annotated[
    Split | None,
    typer.Option(
        "--split",
        help="Which images of the run's data to take." + default_text("test"),
        show_default=False,
    ),
]
OtherData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Take other data with the same classes: the test images of cifar10 or digits, the folder test in a"
        " folder of train and test, or all images of a folder of class folders.",
        metavar="cifar10|digits|PATH",
        rich_help_panel=DATA_PANEL,
    ),
]
Out = Annotated[Path | None, out_option("Where the figure goes; its suffix chooses png, svg or pdf.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print the result and its files alone.", rich_help_panel=OUTPUT_PANEL)
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on stdout, all else on stderr.", rich_help_panel=OUTPUT_PANEL),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Show the traceback of an error.",
        callback=_set_debug,
        is_eager=True,
        rich_help_panel=OUTPUT_PANEL,
    ),
]
