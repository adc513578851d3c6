"""Reloads the data of a run as its run.json describes them. Loads no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from era_cli.choices import Split
from era_cli.core.data import cifar10, sources
from era_cli.core.data.dataset import Dataset
from era_cli.core.data.splits import test_sample, train_and_val
from era_cli.errors import EraError
from era_cli.listener import Listener
from era_cli.recipes import Recipe
from era_cli.results import Labels
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class RunData:
    """A run's dataset, with sorted indices of its training (T,), validation (V,) and test images."""

    dataset: Dataset
    train: Labels
    val: Labels
    test: Labels


def load(
    run: Run,
    document: RunDocument,
    *,
    source: str | None = None,
    data_dir: Path | None,
    strict: bool = False,
    listener: Listener,
) -> RunData:
    """Loads and splits the data exactly as the run described by `document` (run.json) was trained on them.

    Args:
        source: where the data are now, if they have moved.

    Raises:
        EraError: the data are absent, damaged, or have changed.
    """
    dataset = load_changed(run, document, source=source, data_dir=data_dir, strict=strict, listener=listener)
    if dataset.content_hash != document.data.content_hash:
        raise EraError(
            f"the images of {source or document.data.source} are not those that {run.path} was trained on: restore"
            " them, or start a new run"
        )
    return split(dataset, document.recipe)


def load_changed(
    run: Run,
    document: RunDocument,
    *,
    source: str | None = None,
    data_dir: Path | None,
    strict: bool = False,
    listener: Listener,
) -> Dataset:
    """The run's data as they are now, which may not be those that it was trained on; else as `load`.

    Raises:
        EraError: the data are absent or damaged.
    """
    check(run, document, source=source, data_dir=data_dir)
    return sources.load(
        source or document.data.source,
        image_size=document.recipe.image_size,
        data_dir=data_dir or _remembered_dir(document),
        strict=strict,
        listener=listener,
    )


def check(run: Run, document: RunDocument, *, source: str | None = None, data_dir: Path | None) -> None:
    """Refuses a run whose data are not where they were, unless a person says where they are now.

    CIFAR-10 is downloaded neither instead of what is on a disk that is not mounted, nor into a folder that a run.json
    names, which may be a stranger's.

    Raises:
        UsageError: there is no such `source`.
        EraError: the data were moved.
    """
    if source is not None:
        sources.check(source)
    elif (recorded := document.data.source) not in sources.NAMED and not Path(recorded).is_dir():
        raise EraError(
            f"the images of {run.path} were in {recorded}, which no longer exists: put them back, or name their"
            " new location with --data"
        )
    if (source or document.data.source) == "cifar10" and data_dir is None:
        remembered = _remembered_dir(document)
        if remembered is not None and not cifar10.is_in(remembered):
            state = "no longer holds all of its files" if os.path.isdir(remembered) else "is missing"  # noqa: PTH112
            raise EraError(
                f"the CIFAR-10 of {run.path} was in {remembered}, which {state}: put it back, or name its new"
                " location with --data-dir (it is downloaded there if it is missing)"
            )


def check_split(run: Run, document: RunDocument, split: str) -> None:
    """Refuses a split that the run does not have.

    Raises:
        EraError: it holds no images.
    """
    if split == Split.VAL and not document.data.counts.val:
        raise EraError(
            f"{run.path} has no validation images (it was trained with --val-size 0): use --split test or train"
        )


def _remembered_dir(document: RunDocument) -> Path | None:
    """Where the run was told that CIFAR-10 is."""
    recorded = document.data.data_dir
    return Path(recorded) if recorded else None


def split(dataset: Dataset, recipe: Recipe) -> RunData:
    """The images of `dataset` that `recipe` trains, validates and tests on."""
    train, val = train_and_val(dataset.labels[dataset.train], recipe)
    return RunData(
        dataset=dataset, train=dataset.train[train], val=dataset.train[val], test=test_indices(dataset, recipe)
    )


def test_indices(dataset: Dataset, recipe: Recipe) -> Labels:
    """Sorted indices of the test images of `dataset` that `recipe` tests on."""
    return dataset.test[test_sample(dataset.labels[dataset.test], recipe)]
