"""`era gradcam`: heat maps of what a trained network looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from era_cli.commands import options, reading
from era_cli.errors import UsageError
from era_cli.signals import held

if TYPE_CHECKING:
    from era_cli.results import Heatmaps

_ADJECTIVES = {"misclassified": "misclassified", "correct": "correct", "all": "any", "uncertain": "uncertain"}
_LONGEST_MARK = 40  # characters of a file's name
_MOST_NAMED = 5  # empty maps


def gradcam(
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(
            help="More pictures, as a shell makes them of --image *.jpg.", metavar="[FILE]...", show_default=False
        ),
    ] = None,
    n: Annotated[
        int, typer.Option("--n", help="How many images, where --index or --image do not name them.", min=1)
    ] = 10,
    which: Annotated[
        options.Which | None,
        typer.Option(
            "--which",
            help="Which: the misclassified ones, the most confident first; correct ones, or any, drawn at random; or"
            " those where the two likeliest classes are closest (uncertain)." + options.default_text("misclassified"),
            show_default=False,
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            "--index",
            help="Just these images, by their numbers as misclassified.csv has them, e.g. 12,57.",
            metavar="N,N,...",
            show_default=False,
        ),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(
            "--image",
            help="Your own pictures, brought to the network as the images of a folder are.",
            metavar="FILE...",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        options.CamMethod,
        typer.Option(
            "--method",
            help="How the map is made. eigencam is the same for every class; scorecam and ablationcam need no gradients"
            " but a forward pass per channel, seconds an image on a CPU.",
        ),
    ] = "gradcam",
    layer: Annotated[
        options.Layer,
        typer.Option("--layer", help="The layer whose features are weighed."),
    ] = "layer3",
    smooth: Annotated[
        options.Smoothing,
        typer.Option(
            "--smooth",
            help="aug: the mean over three contrasts of the image and, if the network was trained with mirrored images,"
            " of its mirror image. eigen: the first principal component over the channels.",
        ),
    ] = "none",
    target: Annotated[
        options.Target | None,
        typer.Option(
            "--target",
            help="The class whose map is drawn: the predicted one, the true one, or both where they differ."
            + options.default_text("both; predicted with --image"),
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of what is drawn at random.", min=0)] = 0,
    run: options.RunName = "latest",
    checkpoint: options.Checkpoint = None,
    split: options.SplitOption = None,
    data: options.OtherData = None,
    data_dir: options.DataDir = None,
    gpus: options.Gpus = "auto",
    runs_dir: options.RunsDir = Path("runs"),
    out: options.Out = None,
    alpha: Annotated[
        float,
        typer.Option(
            "--alpha",
            help="Opacity of the map over the image. The course project's was 0.275.",
            min=0,
            max=1,
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = 0.45,
    save_maps: Annotated[
        bool,
        typer.Option(
            "--save-maps",
            help="Write the raw maps beside the figure, as NAME-maps.npz.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Draw heat maps of what a trained network looked at (Grad-CAM).

    Each image stands beside its maps for the predicted class and, where that is another, the true one. Writes
    gradcam.png into the run folder; for other images, another class, method, layer or smoothing the name says which.
    """
    reading.check_one_source(split, data)
    files = [file.expanduser() for file in (*(image or []), *(pictures or []))]
    numbers = None if index is None else _numbers(index)
    _check_one_question(files, which, index, target, split, data)
    with held():
        from era_cli import documents
        from era_cli.console import terminal
        from era_cli.console.gradcam import print_heatmaps
        from era_cli.console.progress import WorkProgress, print_files
        from era_cli.core.evaluation import predictions, selection
        from era_cli.core.evaluation.classified_images import ClassifiedImages
        from era_cli.core.gradcam import explain
        from era_cli.core.gradcam.cam import CamOptions
        from era_cli.files import make_folder
        from era_cli.reports import gradcam as heatmaps
        from era_cli.reports import style

    progress = WorkProgress(quiet=quiet)
    opened = reading.open_run(runs_dir, run, checkpoint, gpus)
    classifier, written = opened.classifier, []
    if files:
        images = ClassifiedImages.of_files(opened, files, progress)
        step = opened.weights.step
        head, facts = reading.run_document(opened, step), reading.run_header(opened, step)
        label, chosen, title = predictions.label(opened, None, "none"), f"pictures-{_digest(files)}", "own pictures"
    else:
        subset = reading.subset(opened, split, data, data_dir, progress)
        made = predictions.load_or_compute(opened, subset, "none", progress)
        if numbers is None:
            chosen, title = which or "misclassified", f"{_ADJECTIVES[which or 'misclassified']} {subset.title}"
            rows = selection.choose(made.evaluation, chosen, n, seed)
            reading.check_enough(len(rows), n, progress)
        else:
            chosen, title = f"index-{_few(numbers)}", f"chosen {subset.title}"
            rows = selection.rows_of(made.evaluation, numbers)
        images = ClassifiedImages.of_subset(subset, made.evaluation, rows)
        head, facts = reading.document(opened, subset, made), reading.header(opened, subset, made)
        label, written = predictions.label(opened, subset, "none"), reading.kept(made)
    wanted = target or ("predicted" if files else "both")
    cam_options = CamOptions(method=method, layer=layer, smooth=smooth, target=wanted, seed=seed)
    found = explain.explain(classifier, images, cam_options, progress)
    for note in _remarks(found, wanted):
        progress.note(note)
    # A file's name says what differs from the question that is asked unasked.
    asked = (label, chosen, method, layer, smooth, wanted)
    usual = ("test", "misclassified", "gradcam", "layer3", "none", "predicted" if files else "both")
    marks = [mark for mark, plain in zip(asked, usual, strict=True) if mark not in (plain, "")]
    figure_file = out or opened.run.path / f"{'-'.join(['gradcam', *marks])}.png"
    maps_file = figure_file.with_name(f"{figure_file.stem}-maps.npz")
    written = [figure_file, *([maps_file] if save_maps else []), *written]
    document = {**head, "which": chosen, "result": documents.heatmaps(found), "files": [str(file) for file in written]}
    console = terminal.record_console()
    if not as_json:  # before anything is written, which may fail
        print_heatmaps(console, facts, found)
    make_folder(figure_file.parent)
    if save_maps:
        explain.save(found, maps_file)
    style.save(heatmaps.heatmaps(found, f"{opened.run.name}, {title}", alpha), figure_file)
    if as_json:
        terminal.print_json(document)
    else:
        print_files(console, written)


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise UsageError(f"--index is {text!r}, but must be numbers with commas between them, e.g. 12,57") from None


def _check_one_question(
    files: list[Path], which: str | None, index: str | None, target: str | None, split: str | None, data: str | None
) -> None:
    """Refuses options that speak of different images."""
    if which is not None and index is not None:
        raise UsageError("--which and --index both choose images: leave one out")
    if not files:
        return
    for option, value in (("--which", which), ("--index", index), ("--split", split), ("--data", data)):
        if value is not None:
            raise UsageError(f"{option} chooses images of the data, and --image takes your own: leave one out")
    if target in ("true", "both"):
        raise UsageError(f"--target {target} needs to know the true class, which a picture of your own does not say")


def _few(numbers: list[int]) -> str:
    text = "-".join(map(str, numbers))
    return text if len(text) <= _LONGEST_MARK else _digest(numbers)


def _digest(things: Iterable[object]) -> str:
    """Six letters that tell one choice of images from another, for a file's name."""
    return hashlib.sha256(repr([str(thing) for thing in things]).encode()).hexdigest()[:6]


def _remarks(found: Heatmaps, target: str) -> Iterator[str]:
    """What a person must know who looks at the maps."""
    if not found.by_class and target != "predicted":
        yield f"The map of {found.method} is the same for every class: one is drawn."
    if len(found) and found.maps[0, 0].size == 1:
        side = found.images.shape[1]
        yield f"{found.layer} is one cell for images of {side} px, so its maps say nothing: take an earlier --layer."
        return
    twice = found.targets == found.targets[:, :1]  # the map of the predicted class is that of the true one, too
    twice[:, 0] = False
    empty = list(zip(*(found.empty & ~twice).nonzero(), strict=True))
    for row, column in empty[:_MOST_NAMED]:
        name = found.classes[found.targets[row, column]]
        yield f"Image {found.name(row)} has no map for {name}: nothing at {found.layer} speaks for it ({found.method})."
    if len(empty) > _MOST_NAMED:
        yield f"So it is with {len(empty) - _MOST_NAMED} more."
