"""Class activation maps: what a network looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from era_cli.choices import CamMethod, Smoothing
from era_cli.results.arrays import Images, Labels


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """How much of a class's probability is lost when a fraction `share` of an image's pixels is replaced.

    Means over `count` images, of replacing the `hottest` pixels of the map, as many `random` ones, or those of the
    `moved` map: the same mask, shifted.
    """

    count: int
    share: float
    hottest: float
    random: float
    moved: float

    @property
    def averaged(self) -> str:
        """Over how many images, for people."""
        return "1 image" if self.count == 1 else f"mean of {self.count} images"


@dataclass(frozen=True, kw_only=True)
class Heatmaps:
    """Class activation maps over N images, each for T classes.

    `images` (N, H, W, 3) uint8; `index` (N,) and `files` (N,): their numbers and names in the source, one of them or
    both; `labels` (N,), None for a person's own images; `probabilities` (N, K). `targets` (N, T) are the classes that
    the maps are for, and `roles` (T,) what those are of the image: "predicted" or "true". `maps` (N, T, h, w) float32
    are raw: positive where the features of `layer` are evidence for the class.
    """

    method: CamMethod
    layer: str
    smooth: Smoothing
    classes: tuple[str, ...]
    images: Images
    index: Labels | None
    files: tuple[str, ...] | None
    labels: Labels | None
    probabilities: npt.NDArray[np.float64]
    roles: tuple[str, ...]
    targets: Labels
    maps: npt.NDArray[np.float32]
    faithfulness: Faithfulness | None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def predicted(self) -> Labels:
        """The most likely class of each image, (N,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """Which maps (N, T) show nothing: they have no positive values, or are not finite."""
        return np.logical_not(np.isfinite(self.maps).all(axis=(2, 3)) & (self.maps > 0).any(axis=(2, 3)))

    @property
    def repeated(self) -> npt.NDArray[np.bool_]:
        """Which maps (N, T) are those of the first class again: the true class is the predicted one."""
        return (self.targets == self.targets[:, :1]) & (np.arange(self.targets.shape[1]) > 0)

    @property
    def coarse(self) -> bool:
        """Whether the maps are so small that they tell no more than a quarter of the image."""
        return len(self) > 0 and max(self.maps.shape[2:]) <= 2

    @property
    def scaled(self) -> npt.NDArray[np.float32]:
        """The positive part of the maps (N, T, h, w), each divided by its own maximum; 0 where one is empty."""
        positive = np.where(self.empty[:, :, None, None], 0, np.maximum(self.maps, 0))
        highest = positive.max(axis=(2, 3), keepdims=True)
        return np.divide(positive, highest, out=np.zeros_like(positive), where=highest > 0)

    def image_name(self, row: int) -> str:
        """The image's file, or its number."""
        return self.files[row] if self.files is not None else str(self.index[row] if self.index is not None else row)
