"""The replayed steps and the test, compared with what a run recorded. Loads no lightning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from era_cli.core.data.dataset import Dataset, content_hash
from era_cli.core.verify.compare import difference
from era_cli.core.verify.rounding import DRIFT, EPSILON, Rounding, distance, relative
from era_cli.intervals import wilson_interval
from era_cli.results import Check, CheckStatus, EpochRow, Evaluation, FitResult, StepRow
from era_cli.runs import artifacts
from era_cli.runs.document import RunDocument
from era_cli.text import plural

_SAME_RATE = 1e-9  # relative: rates are computed in float64, whose cosine may differ in its last bit
_METRICS = ("train_loss", "train_acc", "val_loss", "val_acc")
_TRAINING = ("optimizer_states", "lr_schedulers", "loops")


def check_images(dataset: Dataset, document: RunDocument) -> Check:
    """Whether classes, pixels, labels and test split are those of the training, by their hash, computed anew."""
    computed = content_hash(dataset.classes, dataset.images, dataset.labels, dataset.test)
    if computed == document.data.content_hash:
        detail = f"content hash of {plural(len(dataset.images), 'image')}"
        return Check(name="images", status="identical", detail=detail)
    return Check(name="images", status="differs", detail=_changed_images(dataset, document))


def _changed_images(dataset: Dataset, document: RunDocument) -> str:
    if dataset.classes != document.data.classes:
        return f"the classes of {dataset.source} are no longer those in run.json"
    if new := sorted(set(dataset.skipped) - set(document.data.skipped)):
        return f"{dataset.source} has an image that could be read when the run was trained: {new[0]}"
    return f"the images of {dataset.source}, their labels or their number are not those that the run was trained on"


def check_steps(recorded: Sequence[StepRow], replayed: Sequence[StepRow], rounding: Rounding, *, drift: bool) -> Check:
    """The replayed losses and learning rates against steps.csv.

    Args:
        drift: whether the difference of every loss is judged, or of the first alone.
    """
    by_step = {row.step: row for row in recorded}
    compared = []
    for place, row in enumerate(replayed):
        own, most = by_step.get(row.step), DRIFT if drift else math.inf
        limits = {"lr": _SAME_RATE, "loss": most if place else rounding.one_step}
        compared.append((f"step {row.step}", *_values(own, row, limits)))
    named = f"losses and learning rates of steps {replayed[0].step:,} to {replayed[-1].step:,}"
    return _checked("steps", named, artifacts.STEPS, "replayed", compared, rounding)


def check_epochs(
    recorded: Sequence[EpochRow], replayed: Sequence[EpochRow], rounding: Rounding, *, drift: bool
) -> Check:
    """The rows of the replayed epochs against metrics.csv, times left out; else as `check_steps`."""
    by_epoch = {row.epoch: row for row in recorded}
    limits = {"lr": _SAME_RATE, **dict.fromkeys(_METRICS, DRIFT if drift else math.inf)}
    compared = [(f"epoch {row.epoch}", *_values(by_epoch.get(row.epoch), row, limits)) for row in replayed]
    last = replayed[-1].epoch
    named = f"metrics of epoch{'s' * (len(replayed) > 1)} {f'{replayed[0].epoch} to ' * (len(replayed) > 1)}{last}"
    return _checked("epochs", named, artifacts.METRICS, "replayed", compared, rounding)


def _values(recorded: Any, computed: Any, limits: Mapping[str, float]) -> tuple[Any, ...]:
    """Each field with both values, and by how much rounding may make them differ; nothing for a row that is absent."""
    if recorded is None:
        return ()
    return tuple((name, getattr(recorded, name), getattr(computed, name), most) for name, most in limits.items())


def _checked(
    name: str, named: str, file: str, computed: str, compared: Sequence[tuple[Any, ...]], rounding: Rounding
) -> Check:
    """A check of these values; `named` is what they are, `file` where they are recorded."""
    first, most = "", 0.0
    for row, *values in compared:
        if not values:
            return Check(name=name, status="differs", detail=f"{row} is missing from {file}")
        for field, then, now, limit in values:
            if not (apart := (distance if field.endswith("_acc") else relative)(then, now)):
                continue
            told = f"{row}{': ' * bool(row)}{field} {_number(then)} in {file}, {_number(now)} {computed}"
            if rounding.judge(apart, limit) == "differs":
                far = "" if rounding.exact else f", relative difference {apart:.2g}"
                return Check(name=name, status="differs", detail=told + far, difference=apart)
            first, most = first or (f", from {row} on" if row else ", which rounding changed"), max(most, apart)
    if not first:
        return Check(name=name, status="identical", detail=named)
    return Check(name=name, status="within", detail=named + first, difference=most)


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
    found = difference(recorded["state_dict"], replayed["state_dict"])
    named = f"every weight and statistic {after}"
    if found is None:
        return Check(name=name, status="identical", detail=named)
    status = rounding.judge(found.relative, DRIFT if drift else math.inf)
    told = named if status == "within" else f"{after}: {found.first}; relative difference of all {found.relative:.2g}"
    return Check(name=name, status=status, detail=told, difference=found.relative)


def check_optimizer(recorded: Mapping[str, Any], replayed: Mapping[str, Any], rounding: Rounding) -> Check:
    """The rest of two training states: optimizer, schedule and progress.

    What rounding does to a momentum is measured but not judged: it is a difference of gradients, which cancel.
    """
    after = f"after step {recorded['global_step']:,}"
    left, right = ({part: state.get(part) for part in _TRAINING} for state in (recorded, replayed))
    found = difference(left, right)
    if found is not None and rounding.exact:
        return Check(name="optimizer", status="differs", detail=f"{after}: {found.first}", difference=found.relative)
    status: CheckStatus = "identical" if found is None else "within"
    return Check(name="optimizer", status=status, detail=f"momentum, schedule and progress {after}")


def check_test(recorded: FitResult, computed: Evaluation, rounding: Rounding) -> Check:
    """The test of the best epoch, computed anew, against run.json; always in fp32."""
    count, correct, near = len(computed.labels), computed.correct, EPSILON["fp32"]
    one = max(near, 1 / count)  # an image between two classes
    values = (
        ("test_count", recorded.test_count, count, 0.0),
        ("test_correct", recorded.test_correct, correct, one * count / max(1, correct)),
        ("test_acc", recorded.test_acc, computed.accuracy, one),
        ("test_loss", recorded.test_loss, computed.loss, near),
    )
    named = f"accuracy {computed.accuracy:.2%} ({correct:,} of {count:,}) and loss"
    return _checked("test", named, artifacts.DOCUMENT, "computed anew", [("", *values)], rounding)


def check_repeated(recorded: FitResult, computed: Evaluation, rounding: Rounding) -> Check:
    """The test accuracy of the repeated run against the 95 % interval of the recorded one."""
    low, high = wilson_interval(recorded.test_correct, recorded.test_count)
    told = f"test accuracy {recorded.test_acc:.2%} in run.json, {computed.accuracy:.2%} repeated"
    told += f"; 95% interval {low:.2%} to {high:.2%}"
    fits = not rounding.exact and low <= computed.accuracy <= high
    apart = relative(recorded.test_acc, computed.accuracy)
    return Check(name="result", status="within" if fits else "differs", detail=told, difference=apart)


def check_predictions(recorded: Evaluation, computed: Evaluation, rounding: Rounding) -> Check:
    """The stored logits of the test images against those computed anew."""
    left, right = recorded.logits, computed.logits
    found = difference(torch.tensor(left), torch.tensor(right))
    if found is None:
        return Check(name="predictions", status="identical", detail=f"logits of {plural(len(left), 'image')}")
    rows = np.flatnonzero((left.view(np.uint32) != right.view(np.uint32)).any(axis=1))
    told = f"logits of {plural(len(rows), 'image')}, the first of them image {int(computed.index[rows[0]])}"
    status = rounding.judge(found.relative, EPSILON["fp32"])
    return Check(name="predictions", status=status, detail=told, difference=found.relative)
