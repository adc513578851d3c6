"""The choices that options offer and tables in the core implement. Loads nothing, since help needs them."""

from __future__ import annotations

from enum import StrEnum


class Split(StrEnum):
    """The splits of a run's own data."""

    TEST = "test"
    TEST_ALL = "test-all"  # without the run's --limit-test
    VAL = "val"
    TRAIN = "train"


class OwnCheckpoint(StrEnum):
    """The checkpoints that every run has."""

    BEST = "best"
    LAST = "last"


class Tta(StrEnum):
    """Test-time augmentation: the views of an image that its logits are a mean over."""

    NONE = "none"
    FLIP = "flip"
    FLIP_SHIFT = "flip-shift"


class Order(StrEnum):
    """In which order mistakes are listed."""

    CONFIDENCE = "confidence"
    LOSS = "loss"
    MARGIN = "margin"
    INDEX = "index"
    RANDOM = "random"

    @property
    def text(self) -> str:
        """For a person to read."""
        return _ORDERS[self]


_ORDERS = {
    Order.CONFIDENCE: "most confident first",
    Order.LOSS: "largest loss first",
    Order.MARGIN: "largest margin first",
    Order.INDEX: "by index",
    Order.RANDOM: "in random order",
}


class RunOrder(StrEnum):
    """By what runs are sorted, the lowest first; a run without it comes before those."""

    STARTED = "started"
    NAME = "name"
    DATA = "data"
    RECIPE = "recipe"
    EPOCHS = "epochs"
    STATUS = "status"
    VAL = "val"
    TEST = "test"
    TIME = "time"
    SIZE = "size"


class Which(StrEnum):
    """Which of the evaluated images to look at."""

    MISCLASSIFIED = "misclassified"
    CORRECT = "correct"
    ALL = "all"
    UNCERTAIN = "uncertain"

    @property
    def text(self) -> str:
        """For a person to read, before "images"."""
        return _KINDS[self]


_KINDS = {
    Which.MISCLASSIFIED: "misclassified",
    Which.CORRECT: "random correct",
    Which.ALL: "random",
    Which.UNCERTAIN: "uncertain",
}


class CamMethod(StrEnum):
    """How a map is computed."""

    GRADCAM = "gradcam"
    HIRESCAM = "hirescam"
    LAYERCAM = "layercam"

    @property
    def proper_name(self) -> str:
        """The name as papers write it."""
        return _PROPER_NAMES[self]


_PROPER_NAMES = {CamMethod.GRADCAM: "Grad-CAM", CamMethod.HIRESCAM: "HiResCAM", CamMethod.LAYERCAM: "LayerCAM"}


class Smoothing(StrEnum):
    """How a map is smoothed."""

    NONE = "none"
    AUG = "aug"


class Target(StrEnum):
    """The classes whose maps are drawn."""

    PREDICTED = "predicted"
    TRUE = "true"
    BOTH = "both"


# What options once offered, and the choice to take instead.
REMOVED: dict[str, StrEnum] = {
    "gradcam++": CamMethod.GRADCAM,
    "xgradcam": CamMethod.GRADCAM,
    "eigencam": CamMethod.GRADCAM,
    "eigengradcam": CamMethod.HIRESCAM,
    "scorecam": CamMethod.GRADCAM,
    "ablationcam": CamMethod.GRADCAM,
    "eigen": Smoothing.NONE,
    "both": Smoothing.AUG,
}
