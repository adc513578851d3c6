"""`era misclassified`: the images that a trained network gets wrong, and suspected label errors."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from era_cli.choices import Order, Tta
from era_cli.commands import deliver, options, reading, values
from era_cli.commands.loading import loading
from era_cli.commands.recipe_options import default_text
from era_cli.errors import UsageError
from era_cli.recipes import LAST_SEED
from era_cli.text import quoted

if TYPE_CHECKING:  # which help does not need
    from matplotlib.figure import Figure

_EXPLAINED = 5  # of the images shown, by the command named as the next one


@reading.takes_request
def misclassified(
    *,
    n: Annotated[int, typer.Option("--n", "-n", help="Number of images to draw.", min=1)] = 25,
    sort: Annotated[
        Order | None,
        typer.Option(
            "--sort",
            help="Sort order: highest confidence in the wrong class, largest loss, largest margin of the wrong class"
            " over the label; by index, or random." + default_text("confidence; margin with --suspects"),
            show_default=False,
        ),
    ] = None,
    true: Annotated[
        str | None, typer.Option("--true", help="Only images of this class.", metavar="CLASS", show_default=False)
    ] = None,
    predicted: Annotated[
        str | None,
        typer.Option("--predicted", help="Only images predicted as this class.", metavar="CLASS", show_default=False),
    ] = None,
    suspects: Annotated[
        bool,
        typer.Option(
            "--suspects",
            help="Suspected label errors instead: images whose label is probably wrong (confident learning, Northcutt"
            " et al. 2021). Misleading on images that the network was trained on.",
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="List suspects even if the network is too inaccurate, that is, if it would suspect more than 30% of"
            " the labels even if all were right.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Random seed of --sort random.", min=0, max=LAST_SEED)] = 0,
    request: reading.Request,
    out: Annotated[
        Path | None,
        options.out_option(
            "Path of the grid; its suffix selects png, svg or pdf. Beside it go further pages, as NAME-page-2, and the"
            " table, as NAME-table.csv."
        ),
    ] = None,
    columns: Annotated[
        int | None,
        typer.Option(
            "--columns",
            help="Columns of the grid; by default chosen to fit a slide.",
            min=1,
            show_default=False,
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Draw the misclassified images, and list all of them.

    Writes misclassified.png, a grid of --n images titled predicted / true with the confidence and the index that era
    gradcam takes, and misclassified.csv, all of them, into the run folder; with --suspects, suspects.png and
    suspects.csv.
    """
    if true is not None and true == predicted:
        raise UsageError(f"--true and --predicted are both {quoted(true)}: such an image is not misclassified")
    if force and not suspects:
        raise UsageError("--force lists suspects of an inaccurate network: give it with --suspects, or leave it out")
    selected = request.find()
    classes = selected.document.data.classes
    for option, name in (("--true", true), ("--predicted", predicted)):
        if name is not None and name not in classes:
            raise values.wrong_choice(option, name, classes)
    with loading(quiet=quiet) as progress:
        from era_cli import documents, spreadsheet
        from era_cli.console.misclassified import headline, print_mistakes
        from era_cli.core.evaluation import mistakes, predictions
        from era_cli.reports import misclassified as report
        from era_cli.runs import artifacts

    opened = request.open(selected)
    subset = request.subset(opened, progress)
    computed = predictions.load_or_compute(opened, subset, Tta.NONE, progress)
    listed = (mistakes.suspects if suspects else mistakes.wrong)(computed.evaluation, subset.files)
    if suspects and not force:
        mistakes.check_worth(listed)
    listed = mistakes.of_classes(listed, true, predicted)
    listed = mistakes.ordered(listed, sort or (Order.MARGIN if suspects else Order.CONFIDENCE), seed)
    if suspects and subset.name == "train":
        progress.warn(
            "The network was trained on these labels and repeats the wrong ones, too: the ranking misleads."
            " Use --split val or test."
        )
    reading.check_enough(len(listed), n, progress)
    figure = out or opened.run.path / artifacts.misclassified(
        predictions.label(opened, subset, Tta.NONE),
        listed.classes,
        true=true,
        predicted=predicted,
        suspects=suspects,
    )
    # Beside a figure with a name of the person's own there may be a table of that name: the run's metrics.csv, say.
    table = artifacts.beside(out, "table.csv") if out else figure.with_suffix(".csv")
    about = reading.about(opened, subset.counted if subset.sampled else subset.title)
    pages = report.pages(min(n, len(listed)), columns)

    def draw(rows: slice) -> Figure:
        return report.mistakes(subset.images(listed.places[rows]), listed, about, columns, first=rows.start)

    deliver.deliver(
        {**reading.document(opened, subset, computed), "result": documents.mistakes(listed)},
        lambda console, facts: print_mistakes(console, facts, listed),
        [
            *(
                deliver.figure(artifacts.page(figure, number), functools.partial(draw, rows))
                for number, rows in enumerate(pages, start=1)
            ),
            deliver.File(
                table,
                lambda path, _: spreadsheet.write(
                    path, documents.mistake_columns(listed), documents.mistake_rows(listed)
                ),
            ),
            *reading.kept(computed),
        ],
        facts=reading.facts(opened, subset, computed),
        headline=headline(listed) + (f", {subset.counted}" if subset.sampled else ""),
        then=request.next(
            "gradcam",
            index=",".join(map(str, listed.index[: min(n, _EXPLAINED)])) or None,
            which=None if len(listed) else "uncertain",
        ),
        quiet=quiet,
        as_json=as_json,
    )
    for old in artifacts.old_pages(figure, after=len(pages)):
        if out is None:
            old.unlink()
        else:  # what has a name of the person's own may be theirs
            progress.note(f"{old} is not of this figure: remove it if you don't need it.")
