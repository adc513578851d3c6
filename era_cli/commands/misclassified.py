"""`era misclassified`: the images that a trained network gets wrong, and the labels that look wrong themselves."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from era_cli.commands import options, reading
from era_cli.errors import UsageError
from era_cli.signals import held

if TYPE_CHECKING:
    from era_cli.results import Mistakes


def misclassified(
    n: Annotated[int, typer.Option("--n", help="How many to draw.", min=1)] = 25,
    sort: Annotated[
        options.Order | None,
        typer.Option(
            "--sort",
            help="Which come first: those with the highest confidence in the wrong class, the largest loss, the widest"
            " margin between the wrong class and the label; or by index, or at random."
            + options.default_text("confidence; margin with --suspects"),
            show_default=False,
        ),
    ] = None,
    true: Annotated[
        str | None, typer.Option("--true", help="Only images of this class.", metavar="CLASS", show_default=False)
    ] = None,
    predicted: Annotated[
        str | None,
        typer.Option("--predicted", help="Only images taken for this class.", metavar="CLASS", show_default=False),
    ] = None,
    suspects: Annotated[
        bool,
        typer.Option(
            "--suspects",
            help="Instead, the images whose label is probably wrong rather than the network (confident learning,"
            " Northcutt et al. 2021). On images that it was trained on this misleads.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of --sort random.", min=0)] = 0,
    run: options.RunName = "latest",
    checkpoint: options.Checkpoint = None,
    split: options.SplitOption = None,
    data: options.OtherData = None,
    data_dir: options.DataDir = None,
    gpus: options.Gpus = "auto",
    runs_dir: options.RunsDir = Path("runs"),
    out: Annotated[
        Path | None,
        options.out_option(
            "Where the grid goes; its suffix chooses png, svg or pdf. The table goes beside it, as NAME-table.csv."
        ),
    ] = None,
    columns: Annotated[
        int | None,
        typer.Option(
            "--columns",
            help="Images in a row of the grid; by default as many as make it about as wide as a slide.",
            min=1,
            show_default=False,
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Draw the images that a trained network gets wrong, and list all of them.

    Writes misclassified.png, a grid of --n images titled predicted / actual with the confidence, and
    misclassified.csv, all of them, into the run folder; with --suspects, suspects.png and suspects.csv.
    """
    reading.check_one_source(split, data)
    if true is not None and true == predicted:
        raise UsageError(f"--true and --predicted are both {true!r}: an image of a class taken for it is no mistake")
    with held():
        from era_cli import documents, spreadsheet
        from era_cli.console import terminal
        from era_cli.console.misclassified import print_mistakes
        from era_cli.console.progress import WorkProgress, print_files
        from era_cli.core.evaluation import mistakes, predictions
        from era_cli.files import make_folder
        from era_cli.reports import image_grid, style

    progress = WorkProgress(quiet=quiet)
    opened = reading.open_run(runs_dir, run, checkpoint, gpus)
    subset = reading.subset(opened, split, data, data_dir, progress)
    for option, name in (("--true", true), ("--predicted", predicted)):
        _check_class(option, name, subset.dataset.classes)
    made = predictions.load_or_compute(opened, subset, "none", progress)
    found = (mistakes.suspects if suspects else mistakes.wrong)(made.evaluation, subset.files)
    found = mistakes.ordered(
        mistakes.of_classes(found, true, predicted), sort or ("margin" if suspects else "confidence"), seed
    )
    if suspects and subset.name == "train":
        progress.note(
            "The network was trained on these labels and repeats the wrong ones, too: the ranking misleads."
            " Take --split val or test."
        )
    reading.check_enough(len(found), n, progress)
    stem = "-".join(
        ["suspects" if suspects else "misclassified", *_marks(predictions.label(opened, subset, "none"), found)]
    )
    figure_file = out or opened.run.path / f"{stem}.png"
    # Beside a figure of the person's naming there may be a table of the same name: the run's own metrics.csv, say.
    table_file = out.with_name(f"{out.stem}-table.csv") if out else figure_file.with_suffix(".csv")
    files = [figure_file, table_file, *reading.kept(made)]
    document = {
        **reading.document(opened, subset, made),
        "result": documents.mistakes(found),
        "files": [str(file) for file in files],
    }
    console = terminal.record_console()
    if not as_json:  # before anything is written, which may fail
        print_mistakes(console, reading.header(opened, subset, made), found)
    make_folder(figure_file.parent)
    spreadsheet.write(table_file, documents.mistake_columns(found), documents.mistake_rows(found))
    about = f"{opened.run.name}, {subset.title}"
    style.save(image_grid.mistakes(subset.images(found.places[:n]), found, about, columns), figure_file)
    if as_json:
        terminal.print_json(document)
    else:
        print_files(console, files)


def _check_class(option: str, name: str | None, classes: tuple[str, ...]) -> None:
    if name is None or name in classes:
        return
    close = difflib.get_close_matches(name, classes, n=1, cutoff=0.5)
    known = f"did you mean {close[0]!r}?" if close else f"the classes are {', '.join(classes[:20])}"
    raise UsageError(f"{option} {name!r} is none of the run's {len(classes)} classes: {known}")


def _marks(label: str, found: Mistakes) -> list[str]:
    """What tells the files of one question from those of another."""
    marks = [] if label == "test" else [label]
    for option, name in (("true", found.true), ("predicted", found.predicted)):
        if name is not None:
            marks += [option, f"{found.classes.index(name)}_{re.sub(r'[^A-Za-z0-9]+', '_', name)[:40]}"]
    return marks
