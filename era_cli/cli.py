"""The Typer app: the commands, and the one place where errors become a sentence and an exit code."""

from __future__ import annotations

import contextlib
import errno
import inspect
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from era_cli import __version__
from era_cli.commands import (
    compare,
    fit,
    gradcam,
    lr_find,
    misclassified,
    options,
    plot_curves,
    report,
    runs,
    values,
    verify,
)
from era_cli.commands import eval as eval_command
from era_cli.errors import EraError, Interrupted, is_out_of_memory
from era_cli.place import reports_errors
from era_cli.signals import end_on_signals, raise_on_signals, sentence
from era_cli.text import bounded, one_line, without_controls


class _PlainTypes:
    """Leaves out what Typer writes in help beside a flag, <bool>, and beside an argument, <list[Path]>."""

    def get_params(self, ctx: Any) -> Any:
        """The parameters, those of Typer's own among them."""
        params = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
            elif param.param_type_name == "argument":
                param.display_type_rich = lambda ctx: None
        return params


class EraCommand(_PlainTypes, TyperCommand):
    """One of the commands."""


class EraGroup(_PlainTypes, TyperGroup):
    """Runs a command inside the error boundary."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Runs the app; wrong usage that Typer itself finds ends it with one line on stderr, too."""
        if not extra.pop("standalone_mode", True):
            return super().main(*args, **extra, standalone_mode=False)  # type: ignore[misc]
        try:
            code = super().main(*args, **extra, standalone_mode=False)  # type: ignore[misc]
            sys.stdout.flush()
        except typer.TyperException as error:
            sentence = one_line(error.format_message())  # empty where help was shown instead
            if "unexpected extra argument" in sentence:
                context = getattr(error, "ctx", None)
                takes_run = context is not None and any(each.name == "run" for each in context.command.params)
                sentence += ": options begin with --" + (", and a run is named with --run" if takes_run else "")
            if sentence:
                _tell(f"Error: {sentence}")
            sys.exit(error.exit_code)
        except BrokenPipeError:
            sys.exit(1)
        except OSError as error:  # help or the version could not be written
            if error.strerror is None:
                raise
            _tell(one_line(_sentence(error)))
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Invokes the command; an EraError or a signal ends it with one line on stderr and its exit code."""
        raise_on_signals()
        try:
            try:
                answer = super().invoke(ctx)
            finally:
                end_on_signals()
            from era_cli.console.terminal import SteadyStream  # the command has loaded it, which help need not

            if SteadyStream.lost is not None:
                raise EraError(
                    f"stdout could not be written completely ({SteadyStream.lost.strerror}): free some space"
                )
            return answer
        except (EraError, Interrupted, OSError, ImportError, MemoryError, RuntimeError) as error:
            if isinstance(error, OSError) and error.strerror is None:  # not the system's, so a bug of ours
                raise
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            if options.debug_asked(ctx):
                _tell(*(bounded(without_controls(line)) for line in traceback.format_exc().splitlines()))
            else:
                _tell(one_line(_sentence(error)))
            raise typer.Exit(error.exit_code if isinstance(error, EraError | Interrupted) else 1) from None


def _tell(*lines: str) -> None:
    """Prints on stderr; where that fails, the exit code must tell."""
    if not reports_errors():
        return
    with contextlib.suppress(OSError, ValueError):
        print(*lines, sep="\n", file=sys.stderr, flush=True)


def _sentence(error: EraError | Interrupted | OSError | ImportError | MemoryError | RuntimeError) -> str:
    if isinstance(error, Interrupted):
        return sentence(error.signum)
    if is_out_of_memory(error):
        return "Error: memory ran out: free some, or use a smaller --batch-size or --image-size (--debug shows where)"
    if isinstance(error, ImportError):  # a library of torch's finds no room, too, under a limit of memory
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        return f"Error: a library cannot be loaded ({reason}): free some memory or reinstall era (--debug shows where)"
    if isinstance(error, OSError) and error.filename is None:
        return f"Error: {error.strerror} while reading or writing (--debug shows where)"
    if isinstance(error, OSError):
        fix = "use a shorter name" if error.errno == errno.ENAMETOOLONG else "check the path and its permissions"
        return f"Error: {error.filename}: {error.strerror}; {fix} (--debug shows where)"
    return f"Error: {error}"


app = typer.Typer(
    cls=EraGroup,
    name="era",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _unwrapped(text: str | None) -> str:
    """A docstring whose paragraphs are lines, which Typer fits to the terminal; it would keep the source's breaks."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


for _name, _command in (
    ("fit", fit.fit),
    ("lr-find", lr_find.lr_find),
    ("eval", eval_command.evaluate),
    ("misclassified", misclassified.misclassified),
    ("gradcam", gradcam.gradcam),
    ("plot-curves", plot_curves.plot_curves),
    ("report", report.report),
    ("compare", compare.compare),
    ("verify", verify.verify),
    ("runs", runs.runs),
):
    app.command(_name, cls=EraCommand, help=_unwrapped(_command.__doc__))(values.checked(_command))


def _print_version(value: bool) -> None:
    if value:
        print(f"era {__version__}")
        raise typer.Exit()


@app.callback()
def era(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Train a small residual network on CIFAR-10 or your own image folder, and see where and why it is wrong.

    Quick start: era fit, then era eval, era misclassified, era gradcam and era report, on the most recent run.
    """
