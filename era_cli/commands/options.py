"""Options that several commands share, each declared once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from era_cli import recipes
from era_cli.choices import Split
from era_cli.commands.recipe_options import default_text
from era_cli.errors import UsageError
from era_cli.files import expanded
from era_cli.recipes.recipe import DATA, TRAINING
from era_cli.text import quoted

OUTPUT = "Output"
FORMATS = (".png", ".svg", ".pdf")
_LONGEST_NAME = 255 - len("-reliability")  # bytes: what goes beside a figure has a longer name


_DEBUG_KEY = "era_cli.debug"


def _set_debug(context: typer.Context, value: bool) -> bool:
    context.meta[_DEBUG_KEY] = value or context.meta.get(_DEBUG_KEY, False)
    return value


def debug_asked(context: typer.Context) -> bool:
    """Whether `--debug` was given to any command of this call."""
    return bool(context.meta.get(_DEBUG_KEY, False))


_MOST_GPUS = 1_024  # of one machine


def _check_gpu(value: str) -> str:
    if value in ("auto", "0", "1"):
        return value
    if value == "all" or (value.isdecimal() and value.isascii()):
        raise UsageError(f"--gpus {quoted(value)} names several GPUs, and only fit uses more than one: use --gpus 1")
    raise UsageError(f"--gpus is {quoted(value)}, but must be auto, 0 or 1")


def _check_gpus(value: str) -> str:
    if value in ("auto", "all"):
        return value
    if value.isdecimal() and value.isascii() and len(value) < 10 and int(value) <= _MOST_GPUS:
        return str(int(value))
    raise UsageError(f"--gpus is {quoted(value)}, but must be auto, all, or a number up to {_MOST_GPUS}")


def _folder(context: typer.CallbackParam, path: Path | None) -> Path | None:
    """A folder, there already or to be made; refuses one that cannot be made because a file is in its way."""
    if path is None:
        return None
    path = expanded(path)
    _refuse_in_the_way(str(context.opts[0]), path)
    return path


def _refuse_in_the_way(option: str, path: Path) -> None:
    """Refuses a folder that cannot be made: of what there is above it, the nearest is no folder."""
    there = next((each for each in (path, *path.parents) if os.path.lexists(each)), None)
    if there is not None and not there.is_dir():
        what = "a file, not a folder" if there.exists() else "a broken link"
        raise UsageError(f"{option} {path} cannot be used: {there} is {what}")


def check_format(path: Path | None) -> Path | None:
    """Refuses a figure file whose format is unknown before any work is done."""
    return _checked_out(path, FORMATS, f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}: that chooses the format")


def check_page(path: Path | None) -> Path | None:
    """Refuses the file of a page that a browser would not show as one, or that cannot be written."""
    return _checked_out(path, (".html",), ".html")


def _checked_out(path: Path | None, suffixes: Sequence[str], wanted: str) -> Path | None:
    if path is None:
        return None
    path = expanded(path)
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"--out {path} must end in {wanted}")
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise UsageError(f"--out {path} has too long a name: use at most {_LONGEST_NAME} bytes")
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder: name a file in it")
    _refuse_in_the_way("--out", path.parent)
    return path


def out_option(text: str) -> Any:
    """The option that says where a figure goes."""
    return typer.Option(
        "--out", help=text, show_default=False, metavar="FILE", callback=check_format, rich_help_panel=OUTPUT
    )


RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="Named settings to start from: default, fast (a smaller network, 8 epochs), or the course project's"
        " session12 (SGD) and session10 (Adam). Other options override single settings; the defaults shown are those of"
        " default." + default_text("default"),
        show_default=False,
        metavar="|".join(recipes.RECIPES),
        rich_help_panel=TRAINING,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Fail on an unreadable image instead of leaving it out.",
        rich_help_panel=DATA,
    ),
]
DATA_OPTION = typer.Option(
    "--data",
    help="cifar10, digits (bundled, no network needed), or a folder of class folders." + default_text("cifar10"),
    show_default=False,
    metavar="cifar10|digits|PATH",
    rich_help_panel=DATA,
)
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="ERA_DATA_DIR",
        help="CIFAR-10 directory; the data are downloaded there if missing. By default in the user's cache.",
        show_default=False,
        callback=_folder,
        rich_help_panel=DATA,
    ),
]
RunsDir = Annotated[
    Path,
    typer.Option("--runs-dir", help="The folder that holds the run folders.", callback=_folder, rich_help_panel=OUTPUT),
]


def _gpus(panel: str | None, auto: str = "a GPU if there is one") -> Any:
    return typer.Option(
        "--gpus",
        help=f"auto uses {auto}; 0 is the CPU.",
        metavar="auto|0|1",
        callback=_check_gpu,
        rich_help_panel=panel,
    )


Gpus = Annotated[str, _gpus(None)]
TrainingGpu = Annotated[str, _gpus(TRAINING)]
TrainingGpus = Annotated[
    str,
    typer.Option(
        "--gpus",
        help="auto uses one GPU if there is one; 0 is the CPU; 2 or more, or all, divides each batch among that many"
        " GPUs of each machine.",
        metavar="auto|all|INTEGER",
        callback=_check_gpus,
        rich_help_panel=TRAINING,
    ),
]
SameGpus = Annotated[str, _gpus(None, "the kind of device that the run was trained on, if there is one")]
RunName = Annotated[
    str,
    typer.Option("--run", help="A run's name, its path, or latest (the most recent run).", metavar="RUN"),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        help="best, last, or the path of a checkpoint; required for an unfinished run." + default_text("best"),
        show_default=False,
        metavar="best|last|PATH",
    ),
]
SplitOption = Annotated[
    Split | None,
    typer.Option(
        "--split",
        help="The split of the run's data to use; test-all ignores the run's --limit-test." + default_text("test"),
        show_default=False,
    ),
]
OtherData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Use other data with the same classes: the test images of cifar10 or digits, the folder test in a"
        " folder of train and test, or all images of a folder of class folders.",
        metavar="cifar10|digits|PATH",
        rich_help_panel=DATA,
    ),
]
Out = Annotated[Path | None, out_option("Path of the figure; its suffix selects png, svg or pdf.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only the result, in one line.", rich_help_panel=OUTPUT)
]
Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON document on stdout, everything else on stderr.", rich_help_panel=OUTPUT
    ),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Show the traceback of an error.",
        callback=_set_debug,
        is_eager=True,
        rich_help_panel=OUTPUT,
    ),
]
