"""What a network is to the rest of era: stages that follow one another, and a linear classifier behind them."""

from __future__ import annotations

import abc
from typing import ClassVar, Self

from torch import Tensor, nn

from era_cli.core.data.dataset import Dataset
from era_cli.core.data.normalize import Normalization
from era_cli.core.networks import initialize
from era_cli.recipes import Recipe
from era_cli.results import Labels


class Network(nn.Module, abc.ABC):
    """An image classifier that can be split behind any of its stages.

    `stages` names the submodules that an image passes one after the other, `head_name` the linear classifier. What a
    stage puts out is not negative, or hardly (SiLU's least is -0.28): class activation maps read a weight on it as
    evidence for or against a class. Parameters that do not require gradients are not trained; a network `freezes` if
    some are trained in the first epochs only.
    """

    stages: ClassVar[tuple[str, ...]]
    head_name: ClassVar[str]
    freezes: ClassVar[bool] = False

    @classmethod
    @abc.abstractmethod
    def of(cls, recipe: Recipe, classes: int) -> Self:
        """The network that `recipe` describes, drawn from torch's global generator."""

    @property
    @abc.abstractmethod
    def first_convolution(self) -> nn.Conv2d:
        """The convolution that reads the image."""

    @abc.abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """The features of the last stage (N, C, h, w) -> logits (N, classes)."""

    @property
    def head(self) -> nn.Linear:
        """The linear classifier, with one output per class."""
        head = self.get_submodule(self.head_name)
        assert isinstance(head, nn.Linear)
        return head

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, H, W) -> logits (N, classes)."""
        last = self.stages[-1]
        return self.classify(self.features(images, last), last)

    def features(self, images: Tensor, stage: str) -> Tensor:
        """Normalised images (N, 3, H, W) -> the output of `stage` (N, C, h, w)."""
        for name in self.stages[: self.stages.index(stage) + 1]:
            images = self.get_submodule(name)(images)
        return images

    def classify(self, features: Tensor, stage: str) -> Tensor:
        """The output of `stage` (N, C, h, w) -> logits (N, classes)."""
        for name in self.stages[self.stages.index(stage) + 1 :]:
            features = self.get_submodule(name)(features)
        return self.logits(features)

    def initialize(self, recipe: Recipe, dataset: Dataset, indices: Labels, normalization: Normalization) -> None:
        """Replaces random weights as `recipe` asks, given the training images at `indices` (N,)."""
        if recipe.dirac:
            initialize.as_identities(self)
        if recipe.whiten:
            initialize.whiten(self.first_convolution, dataset, indices, normalization)

    def freeze(self, epochs: float) -> None:
        """Called before each training step, after so many `epochs`: lets go of what is not trained any more."""
