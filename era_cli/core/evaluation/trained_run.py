"""A trained run, opened to evaluate its network. Loads no lightning."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from era_cli.choices import Split
from era_cli.core.data import run_data, sources
from era_cli.core.data.dataset import Dataset, skipped_note
from era_cli.core.data.normalize import Normalization
from era_cli.core.data.splits import held_out_test
from era_cli.core.evaluation.classifier import TrainedClassifier
from era_cli.core.networks import weights
from era_cli.core.networks.weights import Weights
from era_cli.errors import EraError
from era_cli.listener import Listener
from era_cli.recipes import Recipe
from era_cli.results import Images, Labels
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run
from era_cli.text import sample

SPLITS: dict[str, Callable[[run_data.RunData], Labels]] = {
    Split.TEST: lambda data: data.test,
    Split.TEST_ALL: lambda data: data.dataset.test,
    Split.VAL: lambda data: data.val,
    Split.TRAIN: lambda data: data.train,
}


@dataclass(frozen=True, kw_only=True)
class Subset:
    """The images of `dataset` at `indices` (N,): `name` stands in file names, `title` is for people.

    They are a sample if `total`, the images that could have been taken, is more than N.
    """

    name: str
    title: str
    dataset: Dataset
    indices: Labels
    total: int

    @classmethod
    def of_test(cls, dataset: Dataset, indices: Labels) -> Subset:
        """The test images, or a sample of them at `indices`."""
        return cls(name="test", title="test images", dataset=dataset, indices=indices, total=len(dataset.test))

    @property
    def sampled(self) -> bool:
        """Whether some of the images were left out."""
        return len(self.indices) < self.total

    @property
    def counted(self) -> str:
        """How many of which images: 1,000 of 10,000 test images."""
        title = self.title if self.total != 1 else self.title.replace("images", "image", 1)
        return f"{sample(len(self.indices), self.total)} {title}"

    @property
    def files(self) -> tuple[str, ...] | None:
        """The file name of each image, if they have names."""
        files = self.dataset.files
        return None if files is None else tuple(files[index] for index in self.indices)

    def images(self, places: Labels) -> Images:
        """The images at `places` (M,) among the indices, (M, H, W, 3)."""
        return self.dataset.images[self.indices[places]].transpose(0, 2, 3, 1)


@dataclass(frozen=True)
class TrainedRun:
    """A run with one of its checkpoints, to be evaluated on `device`."""

    run: Run
    checkpoint: Path
    device: torch.device

    @functools.cached_property
    def document(self) -> RunDocument:
        """run.json."""
        return self.run.read()

    @property
    def recipe(self) -> Recipe:
        """The recipe that it was trained by."""
        return self.document.recipe

    @property
    def normalization(self) -> Normalization:
        """The normalization that its network expects."""
        return Normalization.of(self.document)

    @property
    def checkpoint_name(self) -> str:
        """`best` or `last` of the run's own; another file by its name and a mark of its path."""
        if self.checkpoint.parent.resolve() == self.run.checkpoints.resolve():
            return self.checkpoint.stem
        return f"file-{_marked(self.checkpoint.stem, self.checkpoint)}"

    @functools.cached_property
    def weights(self) -> Weights:
        """The network with the checkpoint's weights, on the device; read once.

        Raises:
            EraError: the checkpoint is absent, damaged, not era's, or of another network.
        """
        try:
            loaded = weights.load(self.document, self.checkpoint)
        except EraError as error:
            raise EraError(f"{error}; name another with --checkpoint") from error
        return dataclasses.replace(loaded, network=loaded.network.to(self.device))

    @functools.cached_property
    def classifier(self) -> TrainedClassifier:
        """The network with everything that its predictions depend on.

        Raises:
            EraError: as for `weights`.
        """
        return TrainedClassifier(
            network=self.weights.network,
            normalization=self.normalization,
            classes=self.document.data.classes,
            mirrored=self.recipe.flip > 0,
        )

    def check_finite(self, logits: npt.NDArray[np.float32]) -> None:
        """Refuses a network that has diverged.

        Raises:
            EraError: some of its logits are NaN or infinite.
        """
        if not np.isfinite(logits).all():
            raise EraError(
                f"the checkpoint {self.checkpoint} gives logits that are NaN or infinite: name another with"
                " --checkpoint"
            )

    def subset(self, split: str, data_dir: Path | None, listener: Listener) -> Subset:
        """The images of the run's own `split`.

        Raises:
            EraError: the data are absent or changed, or the split is empty.
        """
        run_data.check_split(self.run, self.document, split)
        data = run_data.load(self.run, self.document, data_dir=data_dir, listener=listener)
        indices = SPLITS[split](data)
        if split == Split.TEST:
            return Subset.of_test(data.dataset, indices)
        title = "test images" if split == Split.TEST_ALL else f"{split} images"
        return Subset(name=split, title=title, dataset=data.dataset, indices=indices, total=len(indices))

    def other_subset(self, source: str, data_dir: Path | None, listener: Listener) -> Subset:
        """The test images of another source with the run's classes; all images of a folder that is not split.

        Raises:
            EraError: the data are absent, or of other classes.
        """
        if sources.resolved(source) == self.document.data.source:
            return self.subset("test", data_dir, listener)
        dataset = sources.load_all(
            source,
            self.document.data.classes,
            image_size=self.document.data.image_size,
            data_dir=data_dir,
            listener=listener,
        )
        if dataset.skipped:
            listener.warn(skipped_note(dataset))
        if (own := self._own_test(dataset)) is not None:
            listener.warn(f"{source} holds the images that {self.run.path} was trained on; using its test images only.")
            return Subset.of_test(own, run_data.test_indices(own, self.recipe))
        mark = source if source in sources.NAMED else _marked(dataset.name, Path(dataset.source))
        title = f"images of {dataset.name}"
        if source not in sources.NAMED:
            title += f" ({mark.rpartition('-')[2]})"  # as in file names: other folders may be called the same
        return Subset(name=f"data-{mark}", title=title, dataset=dataset, indices=dataset.test, total=len(dataset.test))

    def _own_test(self, dataset: Dataset) -> Dataset | None:
        """The run's own folder, moved elsewhere, with the test images that were held out of it."""
        train, test = held_out_test(dataset.labels)
        own_hash = dataset.content_hash_with(test)
        if own_hash != self.document.data.content_hash:
            return None
        return dataclasses.replace(dataset, train=train, test=test, content_hash=own_hash)


def _marked(name: str, path: Path) -> str:
    """A name for files, with a mark of the whole path: another folder or file may be called the same."""
    mark = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:6]
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_') or 'unnamed'}-{mark}"
