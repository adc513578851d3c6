"""`era report`: a run as one HTML page."""

from __future__ import annotations

import contextlib
import dataclasses
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from era_cli.choices import CamMethod, OwnCheckpoint, Target, Tta
from era_cli.commands import deliver, next_step, options, reading, run_facts
from era_cli.commands.loading import loading
from era_cli.errors import UsageError
from era_cli.signals import ending

if TYPE_CHECKING:
    from era_cli.core.compare.evaluated import EvaluatedRun
    from era_cli.core.evaluation.trained_run import Subset, TrainedRun
    from era_cli.listener import Listener
    from era_cli.page.sheets import Sheets
    from era_cli.results import Comparison, Evaluation, Gallery

ROOM = 5_100_000  # bytes of a page's 6 MB for its images
_MOST_SAMPLES = 1_000_000  # bytes of a samples.png


@reading.takes_request
def report(
    *,
    request: reading.Request,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Path of the page, ending in .html.",
            show_default=False,
            metavar="FILE",
            callback=options.check_page,
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Compare with this run, too: its name, its path or latest; as in era compare.",
            show_default=False,
            metavar="RUN",
        ),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.", rich_help_panel=options.OUTPUT)
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write everything about a run as one page to explore, mail and print.

    One HTML file that works offline: curves, calibration, classes, a confusion matrix whose cells show their images, a
    gallery of the misclassified images with heat maps, suspected label errors, recipe, versions and files. Writes
    report.html into the run folder; with --against, report-against-RUN.html.
    """
    selected = request.find()
    other = None if against is None else _other(request, against, selected)
    with loading(quiet=quiet) as progress:
        from era_cli import documents
        from era_cli.console.report import headline, print_report
        from era_cli.core.compare.evaluated import EvaluatedRun
        from era_cli.core.evaluation import metrics, predictions
        from era_cli.core.networks import summary
        from era_cli.page import page
        from era_cli.results import Report
        from era_cli.runs import artifacts, listing

    opened = request.open(selected)
    subset = request.subset(opened, progress)
    computed = predictions.load_or_compute(opened, subset, Tta.NONE, progress)
    evaluation = computed.evaluation
    comparison = (
        None if other is None else _compared(request, other, EvaluatedRun.of(opened, subset, computed), progress)
    )
    gallery, images = _gallery(opened, subset, evaluation, comparison, progress)
    document, details = listing.details(opened.run)
    name = artifacts.report(
        predictions.label(opened, subset, Tta.NONE), opened.run.path, None if other is None else other.run.path
    )
    path = out or opened.run.path / name
    others = tuple(file for file in details.files if opened.run.path / file.path != path)  # a page does not list itself
    curves = opened.run.curves()
    layers, leaves = summary.layer_rows(opened.classifier.network, document.data.image_size)
    written = Report(
        lead=run_facts.lead(document, details.summary, sum(layer.parameters for layer in leaves)),
        about=reading.about(opened, subset.counted),
        evaluated=subset.counted,
        facts=tuple(run_facts.facts(opened.run, document, details.summary)),
        command=run_facts.repeat(document, details.summary),
        notes=tuple(f"Left out {line}." for line in curves.left_out),
        details=dataclasses.replace(details, files=others),
        curves=curves,
        metrics=metrics.measure(evaluation),
        gallery=gallery,
        layers=layers,
        samples=opened.run.samples(_MOST_SAMPLES),
        comparison=comparison,
    )
    with progress.waiting("writing the page"):
        html = page.render(written, images).encode()
    deliver.deliver(
        {
            **reading.document(opened, subset, computed),
            "against": None if other is None else str(other.run.path),
            "bytes": len(html),
            "result": documents.report(written),
        },
        lambda console, facts: print_report(console, facts, written, len(html)),
        [deliver.bytes_file(path, html), *reading.kept(computed)],
        facts=reading.facts(opened, subset, computed),
        headline=headline(written, len(html)),
        then=next_step.line("runs", runs_dir=request.runs_dir),
        quiet=quiet,
        as_json=as_json,
    )
    if open_page and not _opened(path):
        progress.warn(f"No browser could be opened: open {path} in one yourself.")


def _other(request: reading.Request, name: str, selected: reading.SelectedRun) -> reading.SelectedRun:
    """The run to compare with, by the same kind of checkpoint, with its best one where another file was named.

    Raises:
        UsageError: it is the run itself, or has other data.
        EraError: there is no such run or checkpoint.
    """
    with ending():
        from era_cli.core.compare import comparable

    checkpoint = request.checkpoint if request.checkpoint in tuple(OwnCheckpoint) else None
    other = dataclasses.replace(request, run=name, checkpoint=checkpoint).find()
    if other.run.path.resolve() == selected.run.path.resolve():
        raise UsageError(f"--against {name} is {selected.run.path} itself: name another run")
    if request.data is None:
        comparable.check_records([(one.run, one.document.data) for one in (other, selected)])
    return other


def _compared(
    request: reading.Request, other: reading.SelectedRun, own: EvaluatedRun, listener: Listener
) -> Comparison:
    from era_cli.core.compare.compare import compare
    from era_cli.core.compare.evaluated import evaluate

    opened = request.open(other)
    return compare([evaluate(opened, request.subset(opened, listener), Tta.NONE, listener)], [own])


def _gallery(
    opened: TrainedRun, subset: Subset, evaluation: Evaluation, comparison: Comparison | None, listener: Listener
) -> tuple[Gallery, Sheets]:
    """The images that matter most, as many as a page has room for, with their heat maps."""
    from era_cli.core.evaluation.classified_images import ClassifiedImages
    from era_cli.core.gradcam import explain, stages
    from era_cli.core.gradcam.cam import CamOptions
    from era_cli.core.report.select import select
    from era_cli.page import sheets
    from era_cli.results import Gallery

    selected = select(evaluation, trained_on=subset.name == "train", comparison=comparison)
    places = selected.places
    images = sheets.encode(lambda some: subset.images(places[some]), len(places), ROOM)
    selected = selected.first(images.count)
    stage = stages.last_with_cells(opened.classifier, subset.dataset.images.shape[-1])
    asked = CamOptions(method=CamMethod.GRADCAM, layer=stage, target=Target.BOTH)
    shown = ClassifiedImages.of_subset(subset, evaluation, selected.places)
    heatmaps = explain.explain(opened.classifier, shown, asked, listener)
    return Gallery.of(selected, evaluation, heatmaps), images


def _opened(path: Path) -> bool:
    with contextlib.suppress(webbrowser.Error, OSError):
        return webbrowser.open(path.resolve().as_uri())
    return False
