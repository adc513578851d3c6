"""`era eval`: how accurate a trained network is, class by class, and how well its confidence is calibrated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from era_cli.choices import Tta
from era_cli.commands import deliver, options, reading
from era_cli.commands.loading import loading


@reading.takes_request
def evaluate(
    *,
    request: reading.Request,
    tta: Annotated[
        Tta,
        typer.Option(
            "--tta",
            help="Test-time augmentation: average over the image and its mirror image (flip), and over both shifted by"
            " a pixel, too (flip-shift).",
        ),
    ] = Tta.NONE,
    out: Annotated[
        Path | None,
        options.out_option(
            "Path of the confusion matrix; its suffix selects png, svg or pdf. The reliability diagram goes beside it,"
            " as NAME-reliability."
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Evaluate a trained network: accuracy, per-class metrics, calibration.

    Computes in fp32 and writes into the run folder: confusion.png, reliability.png, eval-SPLIT.json with everything,
    and predictions-SPLIT.npz, which is reused while still valid.
    """
    selected = request.find()
    with loading(quiet=quiet) as progress:
        from era_cli import documents
        from era_cli.console.eval import headline, print_evaluation
        from era_cli.core.evaluation import metrics, predictions
        from era_cli.reports.confusion import confusion_matrix
        from era_cli.reports.reliability import reliability_diagram
        from era_cli.runs import artifacts

    opened = request.open(selected)
    subset = request.subset(opened, progress)
    if tta is not Tta.NONE and not opened.recipe.flip:
        progress.note(f"The run was trained without mirror images, so --tta {tta} may cost accuracy.")
    computed = predictions.load_or_compute(opened, subset, tta, progress)
    evaluation = computed.evaluation
    result = metrics.measure(evaluation)
    label = predictions.label(opened, subset, tta)
    folder = opened.run.path
    about = reading.about(opened, subset.counted, tta)
    header = f"{about}: accuracy {result.accuracy:.2%}"
    deliver.deliver(
        {**reading.document(opened, subset, computed), "tta": tta, "result": documents.metrics(result)},
        lambda console, facts: print_evaluation(console, facts, result),
        [
            deliver.json_file(folder / artifacts.evaluation(label)),
            deliver.figure(
                out or folder / artifacts.confusion(label),
                lambda: confusion_matrix(result.confusion, evaluation.classes, header),
            ),
            deliver.figure(
                out.with_stem(f"{out.stem}-reliability") if out else folder / artifacts.reliability(label),
                lambda: reliability_diagram(result.calibration, about),
            ),
            *reading.kept(computed),
        ],
        facts=reading.facts(opened, subset, computed, tta),
        headline=headline(result) + (f", {subset.counted}" if subset.sampled else ""),
        then=request.next(
            "misclassified" if result.correct < result.count else "gradcam",
            which=None if result.correct < result.count else "uncertain",
        ),
        quiet=quiet,
        as_json=as_json,
    )
