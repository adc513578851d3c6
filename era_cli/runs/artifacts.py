"""The name of every file that a command writes, and what a run folder holds. Loads nothing heavy."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from era_cli.choices import CamMethod, Smoothing, Target, Which
from era_cli.errors import EraError

DOCUMENT = "run.json"
METRICS = "metrics.csv"
STEPS = "steps.csv"
SAMPLES = "samples.png"
CURVES = "curves.png"
SWEEP = "lr-find.png"
LOCK = ".lock"

CHECKPOINTS = "checkpoints"
BEST = "best.ckpt"  # after the best epoch so far
LAST = "last.ckpt"  # the newest training state
PREVIOUS = "previous.ckpt"  # the one before it, should the newest be damaged

SWEEPS = "lr-find"  # the folder beside the runs that holds what lr-find writes

_LONGEST_NAME = 40  # characters of a class or an image in a file's name
_LONGEST_GROUP = 60  # bytes of the names of several runs in one

TEST = "test"  # the label of the usual evaluation, which most names leave out

_TITLES = {
    DOCUMENT: "Run: recipe, data, versions, result",
    METRICS: "Metrics per epoch",
    STEPS: "Learning rate and loss per step",
    SAMPLES: "Augmented training images",
    CURVES: "Loss, accuracy and learning rate",
    SWEEP: "Learning-rate range test",
    f"{CHECKPOINTS}/{BEST}": "Checkpoint: best epoch",
    f"{CHECKPOINTS}/{LAST}": "Checkpoint: most recent",
    f"{CHECKPOINTS}/{PREVIOUS}": "Checkpoint: the one before",
}
# Of files whose names carry a label: the split, the checkpoint, the classes, the method.
_LABELLED = {
    "predictions": "Predictions",
    "eval": "Evaluation",
    "report": "Report",
    "confusion": "Confusion matrix",
    "reliability": "Reliability diagram",
    "misclassified": "Misclassified images",
    "suspects": "Suspected label errors",
    "gradcam": "Heat maps",
    "compare": "Comparison",
}


@dataclass(frozen=True)
class Artifact:
    """A file of a run, and what it holds; the title is empty for a file that era did not write."""

    path: Path
    title: str


def predictions(label: str) -> str:
    """The logits of an evaluation, kept to be read again."""
    return f"predictions-{label}.npz"


def evaluation(label: str) -> str:
    """All figures of `era eval`."""
    return f"eval-{label}.json"


def report(label: str, run: Path, against: Path | None = None) -> str:
    """The page of `run`, with its comparison `against` another."""
    other = [] if against is None else ["against", _group([against], run.parent)]
    return f"{_joined('report', [label, *other])}.html"


def confusion(label: str) -> str:
    """The confusion matrix."""
    return f"{_joined('confusion', [label])}.png"


def reliability(label: str) -> str:
    """The reliability diagram."""
    return f"{_joined('reliability', [label])}.png"


def misclassified(
    label: str, classes: tuple[str, ...], *, true: str | None, predicted: str | None, suspects: bool
) -> str:
    """The grid of misclassified images or suspects; the chosen classes are in its name."""
    marks = [label]
    for option, name in (("true", true), ("predicted", predicted)):
        if name is not None:
            marks += [option, f"{classes.index(name)}_{re.sub(r'[^A-Za-z0-9]+', '_', name)[:_LONGEST_NAME]}"]
    return f"{_joined('suspects' if suspects else 'misclassified', marks)}.png"


def page(figure: Path, number: int) -> Path:
    """A page of a figure, from 1: NAME.png, NAME-page-2.png and so on."""
    return figure if number == 1 else figure.with_stem(f"{figure.stem}-page-{number}")


def old_pages(figure: Path, *, after: int) -> list[Path]:
    """The pages of a longer figure that was drawn before."""
    later = (page(figure, number) for number in itertools.count(after + 1))
    return list(itertools.takewhile(Path.is_file, later))


def selection(kind: str, names: Sequence[str]) -> str:
    """A mark for images that a person selected: image-photo-and-3-more, index-12.

    Other images may share it; a name for each set of them would be a hash, which says nothing.
    """
    first = re.sub(r"\W+", "_", names[0]).strip("_")[:_LONGEST_NAME] or "unnamed"
    return f"{kind}-{first}" + (f"-and-{len(names) - 1}-more" if len(names) > 1 else "")


def heatmaps(
    label: str, images: str, method: CamMethod, smooth: Smoothing, *, layer: str | None, target: Target | None
) -> str:
    """The sheet of heat maps; its name leaves out what is usual. `layer` and `target` are None where they are."""
    usual = (Which.MISCLASSIFIED, CamMethod.GRADCAM, Smoothing.NONE)
    marks = [mark for mark in (images, method, layer, smooth, target) if mark is not None and mark not in usual]
    return f"{_joined('gradcam', [label, *marks])}.png"


def comparison_with(other: Path, run: Path, label: str) -> str:
    """The flips of `run` against the run `other`, in the folder of the former."""
    return f"{_joined('compare-with', [_group([other], run.parent), label])}.png"


def comparison_of(runs: Sequence[Path], others: Sequence[Path], folder: Path, label: str) -> str:
    """The flips of `runs` against `others`, in the `folder` of the runs."""
    return f"{_joined('compare', [_group(runs, folder), 'with', _group(others, folder), label])}.png"


def _group(runs: Sequence[Path], folder: Path) -> str:
    """The names of the runs; with a mark of their paths where names are too long, not plain, or not of `folder`."""
    names = "+".join(run.name for run in runs)
    whole = [run.resolve() for run in runs]
    if (
        len(os.fsencode(names)) <= _LONGEST_GROUP
        and all(re.fullmatch(r"[\w.-]+", run.name) for run in runs)
        and all(run.parent == folder.resolve() for run in whole)
    ):
        return names
    mark = hashlib.sha256(b"\0".join(map(os.fsencode, sorted(whole)))).hexdigest()[:6]
    first = re.sub(r"[^\w.-]", "_", runs[0].name)[:_LONGEST_NAME]
    return f"{first}-and-{len(runs) - 1}-more-{mark}" if len(runs) > 1 else f"{first}-{mark}"


def beside(figure: Path, name: str) -> Path:
    """What goes beside a figure that may have a name of the person's own: NAME.png -> NAME-maps.npz."""
    return figure.with_name(f"{figure.stem}-{name}")


def opened_first(files: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Those that a person opens, pages, figures and tables with a row per epoch or image, and the others."""
    opened: list[Path] = []
    others: list[Path] = []
    for file in files:
        first = file.suffix.lower() in (".png", ".svg", ".pdf", ".csv", ".html") and file.name != STEPS
        (opened if first else others).append(file)
    return opened, others


def how_to_get_one(name: str) -> str:
    """What a person can do who needs a checkpoint of the run called `name`, which has none yet."""
    return f"wait for the first or, if the run was stopped before it, start it again with --name {name} --overwrite"


def training_states(checkpoints: Path) -> list[Path]:
    """The checkpoints in the folder `checkpoints` that a run can be resumed from, the most recent first.

    Raises:
        EraError: there is none.
    """
    states = [path for path in (checkpoints / LAST, checkpoints / PREVIOUS) if path.exists()]
    if not states and (checkpoints / BEST).exists():
        raise EraError(
            f"{checkpoints} has neither {LAST} nor {PREVIOUS} (era runs --slim removes them): the run can be evaluated,"
            " but neither resumed nor verified; train it again if you need to"
        )
    if not states:
        raise EraError(f"{checkpoints} holds no checkpoint yet: {how_to_get_one(checkpoints.parent.name)}")
    return states


def contents(folder: Path) -> tuple[Artifact, ...]:
    """Every file in a run folder that a person may open, sorted by path; hidden ones are left out."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return tuple(Artifact(path, _title(path.relative_to(folder).as_posix())) for path in paths)


def of_fit(folder: Path) -> list[Path]:
    """Those files in a run folder that `era fit` writes, sorted by path."""
    own = {*_TITLES, predictions(TEST)}
    return [file.path for file in contents(folder) if file.path.relative_to(folder).as_posix() in own]


def _joined(name: str, marks: Iterable[str]) -> str:
    return "-".join([name, *(mark for mark in marks if mark not in ("", TEST))])


def _title(name: str) -> str:
    if name in _TITLES:
        return _TITLES[name]
    kind, _, label = Path(name).stem.partition("-")
    if kind not in _LABELLED or "/" in name:
        return ""
    return _LABELLED[kind] + (f" ({label})" if label else "")
