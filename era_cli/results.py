"""What the core hands to console and reports: frozen values and NumPy arrays. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One row of metrics.csv.

    Losses are nats per image: the training loss is what was minimised (smoothed labels, augmented
    images), the validation loss plain cross-entropy. Accuracies lie in 0..1. `lr` is the rate of the
    epoch's last step. `seconds` is the epoch's wall time with its validation;
    `images_per_second` counts training alone. The validation cells are None without validation.
    """

    epoch: int
    train_loss: float
    train_acc: float
    val_loss: float | None
    val_acc: float | None
    lr: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One row of steps.csv: the rate and the loss of optimizer step `step`, counted from 1."""

    step: int
    lr: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A network's answers on some images.

    `index` (N,): what their source calls them; `labels` (N,), `logits` (N, K) float32, `classes` the K names.
    """

    index: Labels
    labels: Labels
    logits: npt.NDArray[np.float32]
    classes: tuple[str, ...]

    @property
    def predicted(self) -> Labels:
        """The most likely class of each image, (N,)."""
        return self.logits.argmax(axis=1)

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Softmax of the logits, (N, K)."""
        return np.exp(self._log_probabilities)

    @property
    def correct(self) -> int:
        """How many images were classified rightly."""
        return int((self.predicted == self.labels).sum())

    @property
    def accuracy(self) -> float:
        """The share classified rightly, 0..1."""
        return self.correct / len(self.labels)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats, without label smoothing."""
        return float(self.losses.mean())

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """The cross-entropy of each image in nats, (N,)."""
        return -self._log_probabilities[np.arange(len(self.labels)), self.labels]

    @property
    def _log_probabilities(self) -> npt.NDArray[np.float64]:
        logits = self.logits.astype(np.float64)
        shifted = logits - logits.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How one class fares: shares in 0..1, None where nothing is there to divide by; `support` images are of it."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, kw_only=True)
class ConfusedPair:
    """`count` images of class `true` were taken for `predicted`.

    They are the share `share` of that class in Metrics, and of all the mistakes in Mistakes.
    """

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Confidence against accuracy in B bins of equal width over 0..1.

    `counts` (B,) images, `confidence` and `accuracy` (B,) their means, NaN where a bin is empty. `error` is the
    expected calibration error: the mean gap between the two over all images.
    """

    counts: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    error: float


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What an Evaluation amounts to.

    `interval` is the 95 % interval of the accuracy, `loss` plain cross-entropy in nats, `top5` None with five
    classes or fewer. `confusion` (K, K) counts images by true class (row) and predicted class (column); `pairs`
    are its cells off the diagonal that are not zero, the largest first.
    """

    count: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    loss: float
    top5: float | None
    macro_f1: float
    calibration: Calibration
    per_class: tuple[ClassScore, ...]
    confusion: npt.NDArray[np.int64]
    pairs: tuple[ConfusedPair, ...]


_ORDERS = {
    "confidence": "the most confident first",
    "loss": "the largest loss first",
    "margin": "the widest lead over the label first",
    "index": "by index",
    "random": "in random order",
}


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """Images on whose class the network and the label differ, M of the `judged`, in `order`.

    With `suspects` the label is probably wrong, else the network. `total` of them there are in all, and these are
    those of the class `true` that are taken for `predicted`, None for any.

    `places` (M,) are rows in the evaluation; `index` (M,) and `files` (M, or None but for folders) what their source
    calls them. `labels` (M,) say one class and `answers` (M,) another. `confidence` (M,) is the probability of the
    answer, `true_probability` (M,) that of the label, `loss` (M,) its cross-entropy in nats, `margin` (M,) how far
    the likeliest other class leads over the label, -1..1. `pairs`: of which classes they are, the most frequent first.
    """

    suspects: bool
    judged: int
    total: int
    true: str | None
    predicted: str | None
    order: str
    classes: tuple[str, ...]
    places: Labels
    index: Labels
    files: tuple[str, ...] | None
    labels: Labels
    answers: Labels
    confidence: npt.NDArray[np.float64]
    true_probability: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float64]
    margin: npt.NDArray[np.float64]
    pairs: tuple[ConfusedPair, ...]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def how(self) -> str:
        """Their order, in words."""
        return _ORDERS.get(self.order, self.order)

    @property
    def which(self) -> str:
        """Which of them these are, in words; empty for all."""
        parts = [] if self.true is None else [f"labelled {self.true}" if self.suspects else f"of {self.true}"]
        if self.predicted is not None:
            parts.append(f"{'rather' if self.suspects else 'taken for'} {self.predicted}")
        return ", ".join(parts) if self.suspects else " ".join(parts)


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


STEEPEST, VALLEY, TENTH = "steepest", "valley", "minimum / 10"  # the rules that suggest a learning rate


@dataclass(frozen=True, kw_only=True)
class LrSuggestion:
    """A learning rate that a rule picks from a sweep; `spread` is the least and the most over the seeds."""

    rule: str
    lr: float
    spread: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class LrSweep:
    """A learning-rate range test over S rates and K seeds.

    `rates` (S,), `losses` (K, S) float64 in nats, NaN after a seed's sweep stopped, `smoothed` (S,) the mean over
    seeds, smoothed, NaN past the first stop; `stops` says of each seed why and at which rate it stopped, or None.
    `recommended` is one of the suggestions, for `reason`; without one `verdict` says why there is none.
    """

    rates: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    smoothed: npt.NDArray[np.float64]
    seeds: tuple[int, ...]
    stops: tuple[str | None, ...]
    suggestions: tuple[LrSuggestion, ...]
    recommended: LrSuggestion | None
    reason: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A run over time: its epochs and the best of them, its rate by step, and the lines that had to be left out.

    `rates` (S,) are the learning rates of the steps numbered `steps` (S,), from 1; `steps_per_epoch` make an epoch.
    """

    name: str
    status: str
    planned_epochs: int
    epochs: tuple[EpochRow, ...]
    best: EpochRow | None
    steps: npt.NDArray[np.int64]
    rates: npt.NDArray[np.float64]
    steps_per_epoch: int
    test_acc: float | None
    left_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer of a network: its name, what it puts out for one image, and what that costs."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    kernel: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Some images as the network sees them: (N, H, W, 3) uint8, their labels (N,), and what was done to them."""

    images: Images
    labels: Labels
    classes: tuple[str, ...]
    augmentation: str = ""


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """What `era fit` is about to do, for the header.

    `rows_done` are the epochs that a resumed run has behind it, `sweep` is what its peak rate was found by, if it was.
    """

    run: Path
    source: str
    classes: tuple[str, ...]
    class_counts: Mapping[str, npt.NDArray[np.int64]]
    image_size: int
    layers: tuple[LayerRow, ...]
    leaf_layers: tuple[LayerRow, ...]
    device: str
    precision: str
    steps_per_epoch: int
    steps_done: int
    rows_done: tuple[EpochRow, ...]
    samples: Samples
    sweep: LrSweep | None
    notes: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Parameters of the whole network."""
        return sum(layer.parameters for layer in self.leaf_layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one forward pass over one image."""
        return sum(layer.multiply_adds for layer in self.leaf_layers)


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """How a run ended: the best epoch by validation, and the test split judged once with it.

    Without validation (`--val-size 0`) the best epoch is the last and its validation figures are None.
    """

    best_epoch: int
    best_val_acc: float | None
    best_val_loss: float | None
    test_acc: float
    test_loss: float
    test_correct: int
    test_count: int
    seconds: float
