"""What a network looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from era_cli.results.arrays import Images, Labels


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """How much of a class's probability is lost when part of an image is replaced, means over `count` images.

    The `share` of the pixels that goes is the hottest of the map, as many `random` ones, or those of the map `moved`
    elsewhere in the image: the same shape in another place.
    """

    count: int
    share: float
    hottest: float
    random: float
    moved: float


@dataclass(frozen=True, kw_only=True)
class Heatmaps:
    """Class activation maps over N images, each for T classes.

    `images` (N, H, W, 3) uint8; `index` (N,) and `files` (N,): what their source calls them, one of them or both;
    `labels` (N,), None for a person's own pictures; `probabilities` (N, K). `targets` (N, T) are the classes that the
    maps are for, and `roles` (T,) what those are of the image: "predicted" or "true". `maps` (N, T, h, w) float32 are
    raw: positive where the features of `layer` speak for the class, or without `by_class` for any.
    """

    method: str
    by_class: bool
    layer: str
    smooth: str
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
        """Which maps (N, T) show nothing: nowhere positive, or not finite."""
        return np.logical_not(np.isfinite(self.maps).all(axis=(2, 3)) & (self.maps > 0).any(axis=(2, 3)))

    @property
    def scaled(self) -> npt.NDArray[np.float32]:
        """The maps (N, T, h, w) without what is negative, each divided by its own maximum; 0 where one is empty."""
        positive = np.where(self.empty[:, :, None, None], 0, np.maximum(self.maps, 0))
        highest = positive.max(axis=(2, 3), keepdims=True)
        return np.divide(positive, highest, out=np.zeros_like(positive), where=highest > 0)

    def name(self, row: int) -> str:
        """What the image is called."""
        return self.files[row] if self.files is not None else str(self.index[row] if self.index is not None else row)
