"""A run as one page."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from era_cli.results.arrays import Labels
from era_cli.results.compare import Comparison
from era_cli.results.curves import Curves
from era_cli.results.eval import Evaluation, Metrics
from era_cli.results.fit import LayerRow
from era_cli.results.gradcam import Heatmaps
from era_cli.results.runs import RunDetails


@dataclass(frozen=True, kw_only=True)
class ImageGroup:
    """Images that belong together, of which there are `total`; `note` says what a person should know of them.

    `rows` (m,) are those in the page: rows of the images that were selected, in the group's own order. `captions` (m,)
    say what the group knows of each of them besides its true and predicted class, None for nothing.
    """

    name: str
    title: str
    note: str
    rows: Labels
    total: int
    captions: tuple[str, ...] | None = None

    def within(self, count: int) -> ImageGroup:
        """Those among the first `count` selected images."""
        kept = np.flatnonzero(self.rows < count)
        captions = None if self.captions is None else tuple(self.captions[place] for place in kept)
        return dataclasses.replace(self, rows=self.rows[kept], captions=captions)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The images worth showing: `places` (M,) are rows of the evaluation, those that matter most first."""

    places: Labels
    groups: tuple[ImageGroup, ...]

    def first(self, count: int) -> Selection:
        """The first `count` of them."""
        return Selection(places=self.places[:count], groups=tuple(group.within(count) for group in self.groups))


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The M images of a page with their heat maps, and the groups that they form; loss and margin as in Mistakes."""

    heatmaps: Heatmaps
    groups: tuple[ImageGroup, ...]
    losses: npt.NDArray[np.float64]
    margins: npt.NDArray[np.float64]

    @classmethod
    def of(cls, selection: Selection, evaluation: Evaluation, heatmaps: Heatmaps) -> Gallery:
        """The selected images of the evaluation, whose maps are `heatmaps`."""
        rows, labels = np.arange(len(selection.places)), evaluation.labels[selection.places]
        own = heatmaps.probabilities[rows, labels]
        others = heatmaps.probabilities.copy()
        others[rows, labels] = 0.0
        return cls(
            heatmaps=heatmaps,
            groups=selection.groups,
            losses=evaluation.losses[selection.places],
            margins=others.max(axis=1, initial=0.0) - own,
        )


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the page of a run shows.

    `lead` says in a sentence what was trained on what. `evaluated` are the images that `metrics` are of and `notes`
    what makes them doubtful; `facts` are the run's in words, and `command` repeats it. `samples` is the PNG of
    augmented training images, None where it is absent; `comparison` is that of the run, as B, with another.
    """

    about: str
    lead: str
    evaluated: str
    facts: tuple[tuple[str, str], ...]
    command: str
    notes: tuple[str, ...]
    details: RunDetails
    curves: Curves
    metrics: Metrics
    gallery: Gallery
    layers: tuple[LayerRow, ...]
    samples: bytes | None
    comparison: Comparison | None = None
