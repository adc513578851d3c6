"""Images with the logits that a network gives them, of a run's data or a person's own. Loads no lightning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from era_cli.core.evaluation import inference
from era_cli.core.evaluation.trained_run import Subset, TrainedRun
from era_cli.listener import Listener
from era_cli.results import Evaluation, Images, Labels, softmax


@dataclass(frozen=True, kw_only=True)
class ClassifiedImages:
    """`images` (N, 3, H, W) uint8 and their `logits` (N, K); `index`, `files` and `labels` as in Heatmaps."""

    images: Images
    logits: npt.NDArray[np.float32]
    index: Labels | None = None
    files: tuple[str, ...] | None = None
    labels: Labels | None = None

    @classmethod
    def of_subset(cls, subset: Subset, evaluation: Evaluation, rows: Labels) -> ClassifiedImages:
        """Those at `rows` (N,) of the evaluation of `subset`."""
        files = subset.files
        return cls(
            images=subset.dataset.images[subset.indices[rows]],
            logits=evaluation.logits[rows],
            index=evaluation.index[rows],
            files=None if files is None else tuple(files[row] for row in rows),
            labels=evaluation.labels[rows],
        )

    @classmethod
    def of_files(
        cls, trained: TrainedRun, files: Sequence[Path], images: Images, listener: Listener
    ) -> ClassifiedImages:
        """A person's own images, as `own_images.load` preprocesses them.

        Raises:
            EraError: a logit is NaN or infinite.
        """
        everything = np.arange(len(images))
        logits = inference.logits(trained.classifier, images, everything, listener, what="classifying")
        trained.check_finite(logits)
        return cls(images=images, logits=logits, files=tuple(map(str, files)))

    @property
    def predicted(self) -> Labels:
        """The most likely class of each image, (N,)."""
        return self.logits.argmax(axis=1)

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Softmax of the logits, (N, K)."""
        return softmax(self.logits)
