"""`era eval`: how good a trained network is, class by class, and how far its confidence can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from era_cli.commands import options, reading
from era_cli.signals import held


def evaluate(
    run: options.RunName = "latest",
    checkpoint: options.Checkpoint = None,
    split: options.SplitOption = None,
    tta: Annotated[
        options.Tta,
        typer.Option(
            "--tta",
            help="Test-time augmentation: the mean over the image and its mirror image (flip), and both moved by a"
            " pixel (flip-shift).",
        ),
    ] = "none",
    data: options.OtherData = None,
    data_dir: options.DataDir = None,
    gpus: options.Gpus = "auto",
    runs_dir: options.RunsDir = Path("runs"),
    out: Annotated[
        Path | None,
        options.out_option(
            "Where the confusion matrix goes; its suffix chooses png, svg or pdf. The reliability diagram goes"
            " beside it, as NAME-reliability."
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Judge a trained network: accuracy, a table of its classes, calibration.

    Computes in fp32 and writes into the run folder: confusion.png, reliability.png, eval-SPLIT.json with everything,
    and predictions-SPLIT.npz, which is used again as long as it holds.
    """
    reading.check_one_source(split, data)
    with held():
        from era_cli import documents
        from era_cli.console import terminal
        from era_cli.console.eval import print_evaluation
        from era_cli.console.progress import WorkProgress, print_files
        from era_cli.core.evaluation import metrics, predictions
        from era_cli.files import atomic_write_json
        from era_cli.reports import confusion, reliability, style

    progress = WorkProgress(quiet=quiet)
    opened = reading.open_run(runs_dir, run, checkpoint, gpus)
    subset = reading.subset(opened, split, data, data_dir, progress)
    if tta != "none" and not opened.recipe.flip:
        progress.note(f"The run was trained without mirrored images, so --tta {tta} may cost accuracy.")
    made = predictions.load_or_compute(opened, subset, tta, progress)
    result = metrics.measure(made.evaluation)
    label = predictions.label(opened, subset, tta)
    suffix = "" if label == "test" else f"-{label}"
    folder = opened.run.path
    json_file = folder / f"eval-{label}.json"
    confusion_file = out or folder / f"confusion{suffix}.png"
    reliability_file = out.with_stem(f"{out.stem}-reliability") if out else folder / f"reliability{suffix}.png"
    files = [json_file, confusion_file, reliability_file, *reading.kept(made)]
    document = {
        **reading.document(opened, subset, made),
        "tta": tta,
        "result": documents.metrics(result),
        "files": [str(file) for file in files],
    }
    count = f"{len(subset.indices):,} {subset.title}"
    console = terminal.record_console()
    if not as_json:  # before anything is written, which may fail
        print_evaluation(console, reading.header(opened, subset, made, tta), result)
    atomic_write_json(json_file, document)
    about = f"{opened.run.name}, {count}"
    matrix = confusion.confusion_matrix(
        result.confusion, made.evaluation.classes, f"{about}: accuracy {result.accuracy:.2%}"
    )
    style.save(matrix, confusion_file)
    style.save(reliability.reliability_diagram(result.calibration, about), reliability_file)
    if as_json:
        terminal.print_json(document)
    else:
        print_files(console, files)
