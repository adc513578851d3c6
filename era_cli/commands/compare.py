"""`era compare`: whether one run, or one group of runs, is better than another on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from era_cli.choices import OwnCheckpoint, Split, Tta
from era_cli.commands import deliver, next_step, options, reading
from era_cli.commands.deliver import Fact
from era_cli.commands.loading import loading
from era_cli.commands.recipe_options import default_text
from era_cli.errors import UsageError
from era_cli.signals import ending
from era_cli.text import plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from era_cli.core.compare.evaluated import EvaluatedRun
    from era_cli.results import Comparison
    from era_cli.runs.run import Run

_EXPLAINED = 5  # of the images that flip, by the command named as the next one


def compare(
    *,
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Two runs: each a name, a path, latest (the most recent run), or a quoted pattern like 'base-*'.",
            metavar="A B",
            show_default=False,
        ),
    ] = None,
    a: Annotated[
        list[str] | None,
        typer.Option(
            "--a",
            help="Runs of side A, in place of A: a name, a path, latest, or a pattern like 'base-*'; repeatable.",
            metavar="RUN",
            show_default=False,
        ),
    ] = None,
    b: Annotated[
        list[str] | None,
        typer.Option("--b", help="Runs of side B, in the same way.", metavar="RUN", show_default=False),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Number of images to draw of each kind.", min=1)] = 12,
    checkpoint: Annotated[
        OwnCheckpoint | None,
        typer.Option(
            "--checkpoint",
            help="The checkpoint of every run; required for unfinished runs." + default_text("best"),
            show_default=False,
        ),
    ] = None,
    split: options.SplitOption = None,
    tta: Annotated[
        Tta,
        typer.Option("--tta", help="Test-time augmentation, the same for all runs, as in era eval."),
    ] = Tta.NONE,
    data: options.OtherData = None,
    data_dir: options.DataDir = None,
    gpus: options.Gpus = "auto",
    runs_dir: options.RunsDir = Path("runs"),
    out: Annotated[
        Path | None,
        options.out_option(
            "Path of the figure; its suffix selects png, svg or pdf. The table goes beside it, as NAME-table.csv."
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare two runs, or two groups of runs, on the same images, and say what may be claimed.

    One run on each side: two trained networks, by a paired interval and McNemar's exact test. Several on each side:
    two recipes over seeds, by Welch's interval. Writes the images that flip, compare-with-A.png and .csv, into the run
    folder of B; of groups, compare-B-with-A.png and .csv into --runs-dir.
    """
    named = _sides(runs or [], a or [], b or [])
    request = reading.Request(
        checkpoint=checkpoint, split=split, data=data, data_dir=data_dir, gpus=gpus, runs_dir=runs_dir
    )
    side_a, side_b = (_find(side, runs_dir) for side in named)
    _refuse_same(side_a, side_b)
    with ending():
        from era_cli.core.compare import comparable

    comparable.check_sizes(len(side_a), len(side_b))
    selected = [request.select(run) for run in (*side_a, *side_b)]
    if data is None:
        comparable.check_records([(one.run, one.document.data) for one in selected])
    with loading(quiet=quiet) as progress:
        from era_cli import documents, spreadsheet
        from era_cli.console.compare import headline, print_comparison
        from era_cli.core.compare.compare import compare as compared
        from era_cli.core.compare.evaluated import evaluate
        from era_cli.reports import compare as report
        from era_cli.runs import artifacts

    opened = [request.open(one) for one in selected]
    subsets = [request.subset(one, progress) for one in opened]
    comparable.check_subsets(
        [(one.run, one.document.data, subset) for one, subset in zip(opened, subsets, strict=True)]
    )
    if tta is not Tta.NONE and not all(one.recipe.flip for one in opened):
        progress.note(f"Some of the runs were trained without mirror images, so --tta {tta} may cost them accuracy.")
    evaluated = [evaluate(one, subset, tta, progress) for one, subset in zip(opened, subsets, strict=True)]
    evaluated_a, evaluated_b = evaluated[: len(side_a)], evaluated[len(side_a) :]
    comparison = compared(evaluated_a, evaluated_b)
    if split is Split.TRAIN:
        progress.warn("The networks were trained on these images: the difference says little about others.")
    first = evaluated_b[0]
    label = first.label
    paths_a, paths_b = ([run.path for run in side] for side in (side_a, side_b))
    if comparison.paired is not None:
        figure = out or paths_b[0] / artifacts.comparison_with(paths_a[0], paths_b[0], label)
    else:
        figure = out or runs_dir / artifacts.comparison_of(paths_b, paths_a, runs_dir, label)
    table = artifacts.beside(figure, "table.csv") if out else figure.with_suffix(".csv")

    def draw() -> Figure:
        lost, gained = (
            first.subset.images(flips.places[: min(n, report.MOST)]) for flips in (comparison.lost, comparison.gained)
        )
        return report.flips(lost, gained, comparison, _about(first, tta))

    deliver.deliver(
        {
            "data": {
                "source": first.subset.dataset.source,
                "split": first.subset.name,
                "skipped": list(first.subset.dataset.skipped),
            },
            "tta": tta,
            "result": documents.comparison(comparison),
        },
        lambda console, facts: print_comparison(console, facts, comparison),
        [
            deliver.figure(figure, draw),
            deliver.File(
                table, lambda path, _: spreadsheet.write(path, documents.FLIP_COLUMNS, documents.flip_rows(comparison))
            ),
            *(file for each in evaluated for file in reading.kept(each.predictions)),
        ],
        facts=list(_facts(comparison, evaluated, tta)),
        headline=headline(comparison),
        then=_next(request, comparison, first),
        quiet=quiet,
        as_json=as_json,
    )


def _sides(runs: Sequence[str], a: Sequence[str], b: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What names the runs of A and those of B.

    Raises:
        UsageError: they are named in both ways, or in neither.
    """
    if runs and (a or b):
        raise UsageError(
            "the runs are named either as in era compare A B or with --a and --b: leave out one of the two"
        )
    if (a and not b) or (b and not a):
        given, missing = ("--a", "--b") if a else ("--b", "--a")
        raise UsageError(f"{given} names one side and {missing} is missing: name the runs of both")
    if a:
        return a, b
    if len(runs) > 2:
        raise UsageError(
            f"{len(runs)} runs are named, and era compare A B takes two: quote a pattern ('base-*'), or name the runs"
            " of each side with --a and --b"
        )
    if len(runs) < 2:
        raise UsageError("era compare takes two runs, as in era compare A B, or groups of them with --a and --b")
    return [runs[0]], [runs[1]]


def _find(names: Sequence[str], runs_dir: Path) -> list[Run]:
    """The runs of a side, each once.

    Raises:
        EraError: there is no such run.
    """
    with ending():
        from era_cli.runs import store

    found = [run for name in names for run in store.find_all(runs_dir, name)]
    return list({run.path.resolve(): run for run in found}.values())


def _refuse_same(a: Sequence[Run], b: Sequence[Run]) -> None:
    of_a = {run.path.resolve() for run in a}
    if both := next((run for run in b if run.path.resolve() in of_a), None):
        raise UsageError(f"{both.path} is on both sides: a run can only be compared with others")


def _about(first: EvaluatedRun, tta: Tta) -> str:
    """The images, and the checkpoint and augmentation unless they are the default."""
    parts = [first.subset.counted]
    if first.checkpoint != OwnCheckpoint.BEST:
        parts.append(f"checkpoint {first.checkpoint}")
    if tta is not Tta.NONE:
        parts.append(f"test-time augmentation {tta}")
    return ", ".join(parts)


def _facts(comparison: Comparison, runs: Sequence[EvaluatedRun], tta: Tta) -> Iterator[Fact]:
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        if comparison.paired is None:
            yield name, plural(len(side.runs), "run") + ": " + ", ".join(run.name for run in side.runs)
            continue
        (run,) = side.runs
        after = "" if run.epochs is None else f" after {run.epochs:.4g} epoch{'s' * (run.epochs != 1)}"
        unfinished = "" if run.finished else ", training not finished"
        yield name, f"{run.path}, checkpoint {run.checkpoint}{after}, seed {run.seed}{unfinished}"
    subset = runs[0].subset
    yield "data", f"{subset.dataset.source}: {subset.counted}{'' if tta is Tta.NONE else f', --tta {tta}'}"
    yield "computed", _computed(runs)


def _computed(runs: Sequence[EvaluatedRun]) -> str:
    now = sum(run.predictions.seconds is not None for run in runs)
    if not now:
        return f"cached in {runs[0].predictions.file.name}"
    return "now" if now == len(runs) else f"{now} of {len(runs)} runs now, the others cached"


def _next(request: reading.Request, comparison: Comparison, first: EvaluatedRun) -> str:
    """What the first run of B looks at in the images that it, like most of B, gets wrong; without any, its mistakes."""
    name = first.run.name if first.run.path.parent == request.runs_dir else str(first.run.path)
    shared = {**vars(request), "run": name}
    lost = comparison.lost
    wrong = first.predictions.evaluation.predicted[lost.places] != lost.labels
    if not wrong.any():
        return next_step.line("misclassified", **shared)
    index = ",".join(map(str, lost.index[wrong][:_EXPLAINED]))
    return next_step.line("gradcam", index=index, **shared)
