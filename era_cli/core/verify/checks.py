"""The replayed steps and the test, compared with what a run recorded. Loads no lightning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from era_cli.core.data.dataset import Dataset, content_hash
from era_cli.core.verify.compare import difference
from era_cli.core.verify.rounding import DRIFT, EPSILON, Rounding, distance, relative
from era_cli.intervals import wilson_interval
from era_cli.results import Check, CheckStatus, EpochRow, Evaluation, FitResult, Labels, StepRow
from era_cli.runs import artifacts
from era_cli.runs.document import RunDocument
from era_cli.text import plural

_SAME_RATE = 1e-9  # relative: rates are computed in float64, whose cosine may differ in its last bit
_METRICS = ("train_loss", "train_acc", "val_loss", "val_acc")
_TRAINING = ("optimizer_states", "lr_schedulers", "loops")


def check_images(dataset: Dataset, document: RunDocument) -> Check:
    """Whether classes, pixels, labels and test split are those of the training, by their recomputed hash."""
    computed = content_hash(dataset.classes, dataset.images, dataset.labels, dataset.test)
    if computed == document.data.content_hash:
        detail = f"content hash of {plural(len(dataset.images), 'image')}"
        return Check(name="images", status="identical", detail=detail)
    return Check(name="images", status="differs", detail=_changed_images(dataset, document))


def _changed_images(dataset: Dataset, document: RunDocument) -> str:
    if dataset.classes != document.data.classes:
        return f"the classes of {dataset.source} are no longer those in run.json"
    if new := sorted(set(dataset.skipped) - set(document.data.skipped)):
        return f"an image in {dataset.source} that could be read when the run was trained no longer can: {new[0]}"
    return f"the images of {dataset.source}, their labels or their number have changed since the run was trained"


def check_counts(dataset: Dataset, splits: Mapping[str, Labels], document: RunDocument) -> Check:
    """Whether run.json counts the images of each split, and of each class in it, as they are.

    Args:
        splits: the indices of the images of each split.
    """
    for name, indices in splits.items():
        pairs = [(f"data.counts.{name}", getattr(document.data.counts, name), len(indices))]
        if document.data.class_counts is not None:
            recorded = getattr(document.data.class_counts, name)
            by_class = zip(recorded, dataset.class_counts(indices).tolist(), strict=True)
            pairs += [(f"data.class_counts.{name}[{label}]", *counts) for label, counts in enumerate(by_class)]
        if document.result is not None:
            pairs.append(("result.test_total", document.result.test_total, len(dataset.test)))
        for field, claimed, own in pairs:
            if claimed != own:
                return Check(name="counts", status="differs", detail=f"{field} {claimed:,} in run.json, {own:,} found")
    return Check(name="counts", status="identical", detail="number of images per split and class in run.json")


@dataclass(frozen=True)
class _Value:
    """A number as it was recorded and as it is computed now, and by how much rounding may make these differ.

    `apart` measures that: relative, but of accuracies the distance.
    """

    row: str
    field: str
    recorded: float | None
    computed: float | None
    limit: float

    @property
    def apart(self) -> float:
        measure = distance if self.field.endswith("_acc") else relative
        return measure(self.recorded, self.computed)


@dataclass(frozen=True)
class _Missing:
    """A row that was not recorded."""

    row: str


def check_steps(recorded: Sequence[StepRow], replayed: Sequence[StepRow], rounding: Rounding, *, drift: bool) -> Check:
    """The replayed losses and learning rates against steps.csv.

    Args:
        drift: whether the difference of every loss is judged, or of the first alone.
    """
    by_step = {row.step: row for row in recorded}
    values: list[_Value | _Missing] = []
    for place, row in enumerate(replayed):
        most = DRIFT if drift else math.inf
        limits = {"lr": _SAME_RATE, "loss": most if place else rounding.one_step}
        values += _values(f"step {row.step}", by_step.get(row.step), row, limits)
    what = f"losses and learning rates of {_numbered('step', replayed[0].step, replayed[-1].step)}"
    return _checked("steps", what, artifacts.STEPS, "replayed", values, rounding)


def check_epochs(
    recorded: Sequence[EpochRow], replayed: Sequence[EpochRow], rounding: Rounding, *, drift: bool
) -> Check:
    """The rows of the replayed epochs against metrics.csv, times left out; else as `check_steps`."""
    by_epoch = {row.epoch: row for row in recorded}
    limits = {"lr": _SAME_RATE, **dict.fromkeys(_METRICS, DRIFT if drift else math.inf)}
    values = [
        value for row in replayed for value in _values(f"epoch {row.epoch}", by_epoch.get(row.epoch), row, limits)
    ]
    what = f"metrics of {_numbered('epoch', replayed[0].epoch, replayed[-1].epoch)}"
    return _checked("epochs", what, artifacts.METRICS, "replayed", values, rounding)


def check_validation(row: EpochRow, loss: float, correct: int, count: int, rounding: Rounding) -> Check:
    """The validation of the best epoch's state, recomputed over `count` images, against its row of metrics.csv."""
    accuracy = correct / count
    epoch, one = f"epoch {row.epoch}", max(rounding.one_step, 1.5 / count)  # an image between two classes
    values = [
        _Value(epoch, "val_acc", row.val_acc, accuracy, one),
        _Value(epoch, "val_loss", row.val_loss, loss, rounding.one_step),
    ]
    what = f"validation accuracy {accuracy:.2%} and loss of epoch {row.epoch}"
    computed = f"from {artifacts.BEST}"
    return _checked("validation", what, artifacts.METRICS, computed, values, rounding)


def _numbered(unit: str, first: int, last: int) -> str:
    return f"{unit} {first:,}" if first == last else f"{unit}s {first:,} to {last:,}"


def _values(row: str, recorded: Any, computed: Any, limits: Mapping[str, float]) -> list[_Value | _Missing]:
    """Each field of a row with both values."""
    if recorded is None:
        return [_Missing(row)]
    return [
        _Value(row, field, getattr(recorded, field), getattr(computed, field), most) for field, most in limits.items()
    ]


def _checked(
    name: str, what: str, file: str, computed: str, values: Sequence[_Value | _Missing], rounding: Rounding
) -> Check:
    """A check of these values; `what` they are, `file` where they are recorded."""
    first, most = "", 0.0
    for value in values:
        if isinstance(value, _Missing):
            return Check(name=name, status="differs", detail=f"{value.row} is missing from {file}")
        if not (apart := value.apart):
            continue
        if rounding.judge(apart, value.limit) == "differs":
            place = f"{value.row}: {value.field}" if value.row else value.field
            detail = f"{place} {_number(value.recorded)} in {file}, {_number(value.computed)} {computed}"
            if not rounding.exact:
                detail += f", {'' if value.field.endswith('_acc') else 'relative '}difference {apart:.2g}"
            return Check(name=name, status="differs", detail=detail, difference=apart)
        first = first or (f", differing from {value.row} on" if value.row else ", differing by rounding")
        most = max(most, apart)
    if not first:
        return Check(name=name, status="identical", detail=what)
    return Check(name=name, status="within", detail=what + first, difference=most)


def _number(value: float | None) -> str:
    """Every digit: the difference may be in the last."""
    return "nothing" if value is None else repr(value)


def sudden(recorded: Sequence[StepRow], replayed: StepRow, rounding: Rounding) -> bool:
    """Whether the loss of the first replayed step is further from the recorded one than rounding explains."""
    own = next((row for row in recorded if row.step == replayed.step), None)
    return own is None or relative(own.loss, replayed.loss) > rounding.one_step


def check_weights(
    name: str, recorded: Mapping[str, Any], replayed: Mapping[str, Any], rounding: Rounding, *, drift: bool
) -> Check:
    """The network's weights and batch norm's statistics in two training states."""
    after = f"after step {recorded['global_step']:,}"
    unequal = difference(recorded["state_dict"], replayed["state_dict"])
    detail = f"all weights and batch norm statistics {after}"
    if unequal is None:
        return Check(name=name, status="identical", detail=detail)
    status = rounding.judge(unequal.relative, DRIFT if drift else math.inf)
    if status == "differs":
        detail = f"{after}: {unequal.first}; overall relative difference {unequal.relative:.2g}"
    return Check(name=name, status=status, detail=detail, difference=unequal.relative)


def check_optimizer(recorded: Mapping[str, Any], replayed: Mapping[str, Any], rounding: Rounding) -> Check:
    """The rest of two training states: optimizer, schedule and progress.

    What rounding does to a momentum is measured but not judged: it is a difference of gradients, which cancel.
    """
    after = f"after step {recorded['global_step']:,}"
    left, right = ({part: state.get(part) for part in _TRAINING} for state in (recorded, replayed))
    unequal = difference(left, right)
    if unequal is not None and rounding.exact:
        detail = f"{after}: {unequal.first}"
        return Check(name="optimizer", status="differs", detail=detail, difference=unequal.relative)
    status: CheckStatus = "identical" if unequal is None else "within"
    return Check(name="optimizer", status=status, detail=f"momentum, schedule and progress {after}")


def check_test(recorded: FitResult, computed: Evaluation, rounding: Rounding) -> Check:
    """The test of the best epoch, recomputed, against run.json; always in fp32."""
    count, correct, near = len(computed.labels), computed.correct, EPSILON["fp32"]
    one = max(near, 1.5 / count)  # an image between two classes, but not two
    values = (
        _Value("", "test_count", recorded.test_count, count, 0.0),
        _Value("", "test_correct", recorded.test_correct, correct, one * count / max(1, correct)),
        _Value("", "test_acc", recorded.test_acc, computed.accuracy, one),
        _Value("", "test_loss", recorded.test_loss, computed.loss, near),
    )
    what = f"accuracy {computed.accuracy:.2%} ({correct:,} of {count:,}) and loss"
    return _checked("test", what, artifacts.DOCUMENT, "recomputed", values, rounding)


def check_repeated(recorded: FitResult, computed: Evaluation, rounding: Rounding) -> Check:
    """The test accuracy of the repeated run against the 95 % interval of the recorded one."""
    low, high = wilson_interval(recorded.test_correct, recorded.test_count)
    detail = f"test accuracy {recorded.test_acc:.2%} in run.json, {computed.accuracy:.2%} in the repeated run"
    detail += f"; 95% interval {low:.2%} to {high:.2%}"
    fits = not rounding.exact and low <= computed.accuracy <= high
    apart = relative(recorded.test_acc, computed.accuracy)
    return Check(name="result", status="within" if fits else "differs", detail=detail, difference=apart)


def check_predictions(recorded: Evaluation, computed: Evaluation, rounding: Rounding) -> Check:
    """The stored logits of the test images against the recomputed ones."""
    left, right = recorded.logits, computed.logits
    unequal = difference(torch.tensor(left), torch.tensor(right))
    if unequal is None:
        return Check(name="predictions", status="identical", detail=f"logits of {plural(len(left), 'image')}")
    rows = np.flatnonzero((left.view(np.uint32) != right.view(np.uint32)).any(axis=1))
    detail = f"logits of {plural(len(rows), 'image')}, the first being image {int(computed.index[rows[0]])}"
    status = rounding.judge(unequal.relative, EPSILON["fp32"])
    return Check(name="predictions", status=status, detail=detail, difference=unequal.relative)
