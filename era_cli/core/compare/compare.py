"""Two runs, or two groups of runs, compared: evaluated runs in, one result out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from era_cli.core.compare import claim, comparable, flips, settings, statistics
from era_cli.core.compare.evaluated import EvaluatedRun, check_distinct
from era_cli.intervals import wilson_interval
from era_cli.results import (
    ClassComparison,
    ComparedRun,
    Comparison,
    Difference,
    Flips,
    Labels,
    PairedCounts,
    Side,
)


def compare(a: Sequence[EvaluatedRun], b: Sequence[EvaluatedRun]) -> Comparison:
    """B against A: one run against one, or several against several.

    Raises:
        UsageError: one run against several; the runs were evaluated on different images; a side has the same network
            twice.
    """
    comparable.check_sizes(len(a), len(b))
    comparable.check_subsets([(run.run, run.document.data, run.subset) for run in (*a, *b)])
    check_distinct("A", a)
    check_distinct("B", b)
    first = b[0].predictions.evaluation
    labels, classes = first.labels, first.classes
    right_a, right_b = (np.stack([_right(run) for run in runs]) for runs in (a, b))
    tally_a, tally_b = (flips.tally([run.predictions.evaluation for run in runs]) for runs in (a, b))
    lost, gained = flips.lost_and_gained(tally_a, tally_b, first, b[0].subset.files)
    side_a, side_b = _side(a, right_a), _side(b, right_b)
    difference = _difference(right_a, right_b)
    differing = settings.differences([run.document for run in a], [run.document for run in b])
    return Comparison(
        a=side_a,
        b=side_b,
        count=len(labels),
        classes=classes,
        difference=difference,
        paired=_counts(right_a, right_b) if len(a) == 1 else None,
        per_class=_per_class(right_a, right_b, labels, classes, lost, gained),
        lost=lost,
        gained=gained,
        settings=differing,
        better=claim.better(difference),
        claim=claim.sentence(side_a, side_b, difference, len(labels), differing),
    )


def _right(run: EvaluatedRun) -> npt.NDArray[np.bool_]:
    evaluation = run.predictions.evaluation
    return evaluation.predicted == evaluation.labels


def _side(runs: Sequence[EvaluatedRun], right: npt.NDArray[np.bool_]) -> Side:
    """The runs, of which `right` (R, N) says which images they classify correctly."""
    count = right.shape[1]
    accuracies = right.mean(axis=1)
    return Side(
        runs=tuple(
            ComparedRun(
                path=run.run.path,
                name=run.run.name,
                seed=run.document.seed,
                checkpoint=run.checkpoint,
                epochs=run.document.epochs_after(run.predictions.step),
                finished=run.document.status == "finished",
                correct=correct,
                accuracy=correct / count,
                interval=wilson_interval(correct, count),
            )
            for run, correct in zip(runs, right.sum(axis=1).tolist(), strict=True)
        ),
        mean=float(right.mean()),
        deviation=float(accuracies.std(ddof=1)) if len(runs) > 1 else None,
    )


def _counts(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> PairedCounts:
    """Of one run on each side, (1, N)."""
    return PairedCounts(
        both=int((a & b).sum()),
        only_a=int((a & ~b).sum()),
        only_b=int((~a & b).sum()),
        neither=int((~a & ~b).sum()),
    )


def _difference(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> Difference:
    """Of the accuracies on some images, by which runs (R, M) are right: paired for one run each, else of the means."""
    if len(a) == 1:
        counts = _counts(a, b)
        return Difference(
            value=(counts.only_b - counts.only_a) / a.shape[1],
            interval=statistics.newcombe_interval(counts.both, counts.only_a, counts.only_b, counts.neither),
            p_value=statistics.mcnemar_p_value(counts.only_a, counts.only_b),
        )
    interval, p_value = statistics.welch(a.mean(axis=1), b.mean(axis=1))
    # Of counts, so that equal means differ by exactly 0.
    ahead = int(b.sum()) * len(a) - int(a.sum()) * len(b)
    return Difference(value=ahead / (len(a) * len(b) * a.shape[1]), interval=interval, p_value=p_value)


def _per_class(
    a: npt.NDArray[np.bool_],
    b: npt.NDArray[np.bool_],
    labels: Labels,
    classes: tuple[str, ...],
    lost: Flips,
    gained: Flips,
) -> tuple[ClassComparison, ...]:
    """The classes that have images, in their order."""
    there = [place for place in range(len(classes)) if (labels == place).any()]
    masks = {place: labels == place for place in there}
    differences = {place: _difference(a[:, mask], b[:, mask]) for place, mask in masks.items()}
    adjusted = statistics.holm([differences[place].p_value for place in there])
    counts = [np.bincount(each.labels, minlength=len(classes)) for each in (lost, gained)]
    return tuple(
        ClassComparison(
            name=classes[place],
            support=int(masks[place].sum()),
            a=float(a[:, masks[place]].mean()),
            b=float(b[:, masks[place]].mean()),
            lost=int(counts[0][place]),
            gained=int(counts[1][place]),
            p_value=differences[place].p_value,
            p_value_holm=p_value,
        )
        for place, p_value in zip(there, adjusted, strict=True)
    )
