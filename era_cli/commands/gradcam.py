"""`era gradcam`: heat maps of what a trained network looked at."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from era_cli.choices import CamMethod, Smoothing, Target, Tta, Which
from era_cli.commands import deliver, next_step, options, reading
from era_cli.commands.loading import loading
from era_cli.commands.recipe_options import default_text
from era_cli.errors import UsageError
from era_cli.files import expanded
from era_cli.recipes import NETWORK_STAGES
from era_cli.signals import held

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from era_cli.results import Heatmaps

_ADJECTIVES = {
    Which.MISCLASSIFIED: "misclassified",
    Which.CORRECT: "random correct",
    Which.ALL: "random",
    Which.UNCERTAIN: "uncertain",
}
_MOST_NAMED = 5  # empty maps
_STAGES = NETWORK_STAGES["resnet"]
_INSTEAD = {  # of what is no longer there
    "gradcam++": CamMethod.GRADCAM,
    "xgradcam": CamMethod.GRADCAM,
    "eigencam": CamMethod.GRADCAM,
    "eigengradcam": CamMethod.HIRESCAM,
    "scorecam": CamMethod.GRADCAM,
    "ablationcam": CamMethod.GRADCAM,
    "eigen": Smoothing.NONE,
    "both": Smoothing.AUG,
}


def gradcam(
    more_images: Annotated[
        list[Path] | None,
        typer.Argument(
            help="More images, as expanded by the shell: --image *.jpg.", metavar="[FILE]...", show_default=False
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
        str,
        typer.Option(
            "--method",
            help="How the layer's features are weighted: by the mean gradient (gradcam), by the gradient at each"
            " position (hirescam), or only where that is positive (layercam, for finer maps at an earlier layer).",
            metavar="|".join(CamMethod),
        ),
    ] = CamMethod.GRADCAM,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer",
            help=f"Stage of the network whose features are weighted: {', '.join(_STAGES)}." + default_text(_STAGES[-1]),
            show_default=False,
            metavar="STAGE",
        ),
    ] = None,
    smooth: Annotated[
        str,
        typer.Option(
            "--smooth",
            help="aug: average over three contrasts of the image and, if the network was trained with flips, of its"
            " mirror image.",
            metavar="|".join(Smoothing),
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
        int, typer.Option("--seed", help="Random seed for choosing images and for the faithfulness test.", min=0)
    ] = 0,
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
    _check_one_question(files, which, index, target, split, data)
    _check_choice("--method", method, CamMethod)
    _check_choice("--smooth", smooth, Smoothing)
    named = reading.find(runs_dir, run, checkpoint, split, data, own_images=bool(files))
    stage = _stage(layer, named.read().recipe.network)
    with held():
        from era_cli.core.evaluation import own_images
    loaded = own_images.load(files, named.read().data.image_size) if files else None
    with loading(quiet=quiet) as progress:
        from era_cli import documents
        from era_cli.console.gradcam import headline, print_heatmaps
        from era_cli.core.evaluation import predictions, selection
        from era_cli.core.evaluation.classified_images import ClassifiedImages
        from era_cli.core.gradcam import explain
        from era_cli.core.gradcam.cam import CamOptions
        from era_cli.reports import gradcam as report
        from era_cli.reports import sheet
        from era_cli.runs import artifacts

    opened = reading.open_run(named, checkpoint, gpus)
    cached: list[deliver.File] = []
    if loaded is not None:
        images = ClassifiedImages.of_files(opened, files, loaded, progress)
        step = opened.weights.step
        head, facts = reading.run_document(opened, step), reading.run_facts(opened, step)
        chosen, title = artifacts.selection("image", [file.stem for file in files]), "your images"
        label, originals = predictions.label(opened, None, Tta.NONE), files
    else:
        subset = reading.subset(opened, split, data, data_dir, progress)
        computed = predictions.load_or_compute(opened, subset, Tta.NONE, progress)
        images_of = f"images of {subset.counted}" if subset.sampled else subset.title
        if indices is None:
            kind = which or Which.MISCLASSIFIED
            chosen, title = kind.value, f"{_ADJECTIVES[kind]} {images_of}"
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
    asked = CamOptions(
        method=CamMethod(method), layer=stage, smooth=Smoothing(smooth), target=target or default_target, seed=seed
    )
    heatmaps = explain.explain(opened.classifier, images, asked, progress)
    if heatmaps.coarse:
        progress.warn(_coarse(heatmaps))
    for note in _empty(heatmaps):
        progress.note(note)
    # A file's name says what differs from the usual question.
    choices = (
        (chosen, Which.MISCLASSIFIED),
        (asked.method, CamMethod.GRADCAM),
        (asked.layer, _stage(None, opened.recipe.network)),
        (asked.smooth, Smoothing.NONE),
        (asked.target, default_target),
    )
    name = artifacts.heatmaps(label, [choice for choice, usual in choices if choice != usual])
    figure = out or opened.run.path / name
    maps = artifacts.beside(figure, "maps.npz")
    if not out and (files or len(indices or []) > 1) and figure.exists():
        progress.note(f"{figure} already exists and is replaced, whichever images it shows; --out keeps both.")
    about = reading.about(opened, title)

    def draw() -> Figure:
        photos = own_images.load_large(originals[: sheet.MOST // 2], report.photo_side(heatmaps))
        return report.heatmaps(heatmaps, about, alpha, photos)

    deliver.deliver(
        {**head, "which": chosen, "result": documents.heatmaps(heatmaps)},
        lambda console, facts: print_heatmaps(console, facts, heatmaps),
        [
            deliver.figure(figure, draw),
            *([deliver.File(maps, lambda path, _: explain.save(heatmaps, path))] if save_maps else []),
            *cached,
        ],
        facts=facts,
        headline=headline(heatmaps),
        then=next_step.line("plot-curves", run=run, runs_dir=runs_dir),
        quiet=quiet,
        as_json=as_json,
    )


def _stage(layer: str | None, network: str) -> str:
    """The stage of the network whose features are looked at: by default the last."""
    stages = NETWORK_STAGES[network]
    if layer is not None and layer not in stages:
        raise UsageError(f"--layer {layer!r} is not a stage of this network: use {', '.join(stages)}")
    return layer or stages[-1]


def _check_choice(option: str, name: str, choices: type[StrEnum]) -> None:
    if name in set(choices):
        return
    if (instead := _INSTEAD.get(name)) in set(choices):
        raise UsageError(f"{option} {name} is no longer available: use {option} {instead}")
    raise UsageError(f"{option} is {name!r}, but must be one of {', '.join(choices)}")


def _indices(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise UsageError(f"--index is {text!r}, but must be numbers separated by commas, e.g. 12,57") from None


def _check_one_question(
    files: list[Path], which: str | None, index: str | None, target: str | None, split: str | None, data: str | None
) -> None:
    """Refuses options that speak of different images."""
    if which is not None and index is not None:
        raise UsageError("--which and --index both select images: leave one out")
    if not files:
        return
    for option, value in (("--which", which), ("--index", index), ("--split", split), ("--data", data)):
        if value is not None:
            raise UsageError(f"{option} selects images of the data, and --image takes your own: leave one out")
    if target in ("true", "both"):
        raise UsageError(f"--target {target} needs the true class, which an image of your own does not have")


def _coarse(heatmaps: Heatmaps) -> str:
    height, width = heatmaps.maps.shape[2:]
    single = height * width == 1
    size = "a single cell" if single else f"only {width}x{height} cells"
    little = "no location" if single else "only a rough location"
    px = heatmaps.images.shape[1]
    return f"{heatmaps.layer} has {size} for images of {px} px, so its maps show {little}: use an earlier --layer."


def _empty(heatmaps: Heatmaps) -> Iterator[str]:
    """Which maps show nothing."""
    if max(heatmaps.maps.shape[2:]) == 1:
        return
    empty = list(zip(*(heatmaps.empty & ~heatmaps.repeated).nonzero(), strict=True))
    for row, column in empty[:_MOST_NAMED]:
        name = heatmaps.classes[heatmaps.targets[row, column]]
        where = f"at {heatmaps.layer} ({heatmaps.method})"
        yield f"Image {heatmaps.image_name(row)} has no map for {name}: no evidence for it {where}."
    if len(empty) > _MOST_NAMED:
        yield f"And {len(empty) - _MOST_NAMED} more."
