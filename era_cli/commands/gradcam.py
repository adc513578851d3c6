"""`era gradcam`: heat maps of what a trained network looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from era_cli.choices import CamMethod, Smoothing, Target, Tta, Which
from era_cli.commands import deliver, next_step, options, reading, values
from era_cli.commands.loading import loading
from era_cli.commands.recipe_options import default_text
from era_cli.errors import UsageError
from era_cli.files import expanded
from era_cli.recipes import LAST_SEED, NETWORK_STAGES
from era_cli.signals import ending
from era_cli.text import quoted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STAGES = "; ".join(f"{', '.join(stages)} ({network})" for network, stages in NETWORK_STAGES.items())


@reading.takes_request
def gradcam(
    *,
    more_images: Annotated[
        list[Path] | None,
        typer.Argument(
            help="More images, as expanded by the shell: --image *.jpg.", metavar="FILE", show_default=False
        ),
    ] = None,
    n: Annotated[
        int, typer.Option("--n", "-n", help="Number of images, unless --index or --image name them.", min=1)
    ] = 10,
    which: Annotated[
        Which | None,
        typer.Option(
            "--which",
            help="Which images: misclassified ones, the most confident first; random correct ones; random ones (all);"
            " or those where the two most likely classes are closest (uncertain)." + default_text("misclassified"),
            show_default=False,
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            "--index",
            help="Only these images, by their index in misclassified.csv, e.g. 12,57.",
            metavar="N,N,...",
            show_default=False,
        ),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(
            "--image",
            help="Your own images, preprocessed like folder images.",
            metavar="FILE...",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        CamMethod,
        typer.Option(
            "--method",
            help="How the layer's features are weighted: by the mean gradient (gradcam), by the gradient at each"
            " position (hirescam), or only where that is positive (layercam, for finer maps at an earlier layer).",
        ),
    ] = CamMethod.GRADCAM,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer",
            help=f"Stage of the network whose features are weighted: {_STAGES}." + default_text("the last"),
            show_default=False,
            metavar="STAGE",
        ),
    ] = None,
    smooth: Annotated[
        Smoothing,
        typer.Option(
            "--smooth",
            help="aug: average over three contrasts of the image and, if the network was trained with flips, of its"
            " mirror image.",
        ),
    ] = Smoothing.NONE,
    target: Annotated[
        Target | None,
        typer.Option(
            "--target",
            help="Class whose map is drawn: the predicted one, the true one, or both where they differ."
            + default_text("both; predicted with --image"),
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", help="Random seed for choosing images and for the faithfulness test.", min=0, max=LAST_SEED
        ),
    ] = 0,
    request: reading.Request,
    out: options.Out = None,
    alpha: Annotated[
        float,
        typer.Option(
            "--alpha",
            help="Opacity of the map at its maximum; it fades to 0 with the map.",
            min=0,
            max=1,
            rich_help_panel=options.OUTPUT,
        ),
    ] = 0.7,
    save_maps: Annotated[
        bool,
        typer.Option(
            "--save-maps",
            help="Write the raw maps beside the figure, as NAME-maps.npz.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Draw heat maps of what a trained network looked at (Grad-CAM).

    Draws each image beside its heat maps for the predicted class and, if different, the true class. Writes
    gradcam.png into the run folder; for other images, another class, method, layer or smoothing the name says which.
    Your own images and those of a folder are drawn at the resolution of their files.
    """
    files = [expanded(file) for file in (*(image or []), *(more_images or []))]
    indices = None if index is None else _indices(index)
    _check_one_question(files, which, index, target, request)
    selected = request.find(own_images=bool(files))
    stages = NETWORK_STAGES[selected.document.recipe.network]
    if layer is not None and layer not in stages:
        raise values.wrong_choice("--layer", layer, stages)
    stage = layer or stages[-1]
    with ending():
        from era_cli.core.evaluation import own_images
    loaded = own_images.load(files, selected.document.data.image_size) if files else None
    with loading(quiet=quiet) as progress:
        from era_cli import documents
        from era_cli.console import gradcam as console
        from era_cli.core.evaluation import predictions, selection
        from era_cli.core.evaluation.classified_images import ClassifiedImages
        from era_cli.core.gradcam import explain
        from era_cli.core.gradcam.cam import CamOptions
        from era_cli.reports import gradcam as report
        from era_cli.reports import sheet, style
        from era_cli.runs import artifacts

    opened = request.open(selected)
    cached: list[deliver.File] = []
    if loaded is not None:
        images = ClassifiedImages.of_files(opened, files, loaded, progress)
        step = opened.weights.step
        head, facts = reading.run_document(opened, step), reading.run_facts(opened, step)
        chosen, title = artifacts.selection("image", [file.stem for file in files]), "your images"
        label, originals = predictions.label(opened, None, Tta.NONE), files
    else:
        subset = request.subset(opened, progress)
        computed = predictions.load_or_compute(opened, subset, Tta.NONE, progress)
        images_of = f"images of {subset.counted}" if subset.sampled else subset.title
        if indices is None:
            kind = which or Which.MISCLASSIFIED
            chosen, title = kind.value, f"{kind.text} {images_of}"
            rows = selection.choose(computed.evaluation, kind, n, seed)
            reading.check_enough(len(rows), n, progress)
        else:
            chosen, title = artifacts.selection("index", [*map(str, indices)]), f"chosen {images_of}"
            rows = selection.rows_of(computed.evaluation, indices)
        images = ClassifiedImages.of_subset(subset, computed.evaluation, rows)
        originals = [Path(subset.dataset.source) / file for file in images.files or ()]
        head, facts = reading.document(opened, subset, computed), reading.facts(opened, subset, computed)
        label, cached = predictions.label(opened, subset, Tta.NONE), reading.kept(computed)
    default_target = Target.PREDICTED if files else Target.BOTH
    asked = CamOptions(method=method, layer=stage, smooth=smooth, target=target or default_target, seed=seed)
    heatmaps = explain.explain(opened.classifier, images, asked, progress)
    if heatmaps.coarse:
        progress.warn(console.coarse(heatmaps))
    for note in console.empty(heatmaps):
        progress.note(note)
    name = artifacts.heatmaps(
        label,
        chosen,
        method,
        smooth,
        layer=None if stage == stages[-1] else stage,
        target=None if asked.target == default_target else asked.target,
    )
    figure = out or opened.run.path / name
    maps = artifacts.beside(figure, "maps.npz")
    if not out and (files or indices) and figure.exists() and style.label_of(figure) != report.label(heatmaps):
        progress.note(console.overwriting(figure))
    about = reading.about(opened, title)

    def draw() -> Figure:
        photos = own_images.load_large(originals[: sheet.MOST // 2], report.photo_side(heatmaps))
        return report.heatmaps(heatmaps, about, alpha, photos)

    deliver.deliver(
        {**head, "which": chosen, "result": documents.heatmaps(heatmaps)},
        lambda terminal, facts: console.print_heatmaps(terminal, facts, heatmaps),
        [
            deliver.figure(figure, draw),
            *([deliver.File(maps, lambda path, _: explain.save(heatmaps, path))] if save_maps else []),
            *cached,
        ],
        facts=facts,
        headline=console.headline(heatmaps),
        then=_next(request, own_images=bool(files)),
        quiet=quiet,
        as_json=as_json,
    )


def _next(request: reading.Request, *, own_images: bool) -> str:
    """The page of the run: of the same images, unless they are a person's own."""
    if own_images:
        return next_step.line("report", run=request.run, checkpoint=request.checkpoint, runs_dir=request.runs_dir)
    return request.next("report")


def _indices(text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(number) for number in text.split(",")))  # each once
    except ValueError:
        raise UsageError(f"--index is {quoted(text)}, but must be numbers separated by commas, e.g. 12,57") from None


def _check_one_question(
    files: list[Path], which: str | None, index: str | None, target: str | None, request: reading.Request
) -> None:
    """Refuses options that speak of different images."""
    if which is not None and index is not None:
        raise UsageError("--which and --index both select images: leave one out")
    if not files:
        return
    asked = {"--which": which, "--index": index, "--split": request.split, "--data": request.data}
    for option, value in asked.items():
        if value is not None:
            raise UsageError(f"{option} selects images of the data, and --image takes your own: leave one out")
    if target in ("true", "both"):
        raise UsageError(f"--target {target} needs the true class, which an image of your own does not have")
