"""Recipe: every hyper-parameter of a run, checked. Loads no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from era_cli.errors import UsageError
from era_cli.text import did_you_mean, quoted

LAST_SEED = 2**32 - 1
REFERENCE_IMAGE_SIZE = 32  # a recipe gives crop padding and cutout in pixels of an image of this side

# The networks and their stages, from input to output. The core builds them; help and `--layer` only need the names.
NETWORK_STAGES: dict[str, tuple[str, ...]] = {
    "resnet": ("prep", "layer1", "layer2", "layer3"),
    "fastnet": ("whiten", "layer1", "layer2", "layer3"),
}

# What an optimizer brings with it when it replaces the recipe's own: a learning rate for one is wrong for the other by
# an order of magnitude. "sgd" brings the defaults below.
OPTIMIZER_FIELDS: dict[str, dict[str, Any]] = {
    "sgd": {"max_lr": 0.2, "weight_decay": 5e-4, "nesterov": True, "momentum": 0.9},
    "adam": {"max_lr": 0.003, "weight_decay": 1e-4, "nesterov": False, "momentum": 0.9},
    "muon": {"max_lr": 0.24, "weight_decay": 1e-3, "nesterov": True, "momentum": 0.6},
}

RENAMED_PRECISIONS = {"32": "fp32", "16": "fp16"}  # as they were called before schema 3; still understood

# Headings of the fields' options in `--help`. A sweep of lr-find makes its own schedule.
TRAINING, SCHEDULE, AUGMENTATION, DATA, ADVANCED = "Training", "Schedule", "Augmentation", "Data", "Advanced"


@dataclass(frozen=True)
class Range:
    """The numbers a field may hold, as an interval in the usual notation, e.g. `(0, 100]`."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        low, high = "[("[self.open_low], "])"[self.open_high]
        return f"{low}{_plain(self.low)}, {_plain(self.high)}{high}"


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _number(default: Any, allowed: Range, text: str, panel: str = TRAINING, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, "range": allowed, "panel": panel, **more})


def _choice(default: str, allowed: tuple[str, ...], text: str, panel: str = TRAINING, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, "choices": allowed, "panel": panel, **more})


def _switch(default: bool, text: str, panel: str = TRAINING, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, "panel": panel, **more})


_SGD = OPTIMIZER_FIELDS["sgd"]


class UnknownField(Exception):
    """A stored recipe has a field that this version of era does not have."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides how a network is trained, apart from the data and the machine.

    A field's metadata make its command-line option: help, allowed values, panel. A field that came after the first
    runs were written says in `before` what those runs did.

    Raises:
        UsageError: a value has the wrong type or is out of range; the sentence names the field, the value and what
            is allowed.
    """

    name: str = "default"

    epochs: int = _number(24, Range(1, 10_000), "Passes over the training images.", SCHEDULE)
    max_lr: float = _number(
        _SGD["max_lr"], Range(0, 100, open_low=True), "Peak learning rate of the one-cycle schedule.", SCHEDULE
    )
    warmup: float = _number(
        0.25, Range(0, 1, open_low=True, open_high=True), "Warm-up as a fraction of all steps.", SCHEDULE
    )
    anneal: str = _choice("linear", ("linear", "cos"), "Shape of the warm-up and of the decay.", SCHEDULE)
    div_factor: float = _number(100.0, Range(1, 1e9), "Peak learning rate divided by the initial one.", SCHEDULE)
    final_div_factor: float = _number(100.0, Range(1, 1e9), "Initial learning rate divided by the final one.", SCHEDULE)

    initial_size: int = _number(
        32,
        Range(8, 32),
        "Size of the training images at the start, in pixels of a 32 px image; it grows in steps of 4.",
        SCHEDULE,
        before=32,
    )
    grow_until: float = _number(
        0.5,
        Range(0, 1, open_low=True),
        "Fraction of all steps after which the training images have their full size.",
        SCHEDULE,
        before=0.5,
    )

    batch_size: int = _number(128, Range(2, 65_536), "Batch size.")
    optimizer: str = _choice(
        "sgd",
        tuple(OPTIMIZER_FIELDS),
        "Optimizer; brings its own peak learning rate, momentum and weight decay.",
    )
    momentum: float = _number(
        _SGD["momentum"], Range(0, 1, open_high=True), "Momentum of SGD and Muon; beta 1 of Adam."
    )
    weight_decay: float = _number(_SGD["weight_decay"], Range(0, 1), "L2 penalty, added to the gradient.")
    label_smoothing: float = _number(0.1, Range(0, 1, open_high=True), "Label-smoothing factor.")
    dropout: float = _number(0.0, Range(0, 1, open_high=True), "Dropout after each activation.")
    seed: int = _number(0, Range(0, LAST_SEED), "Random seed (weights, shuffling, augmentation, split).")
    precision: str = _choice(
        "auto",
        ("auto", "fp32", "bf16", "fp16"),
        "Numeric precision; auto is bf16 where the hardware supports it, else fp32.",
        renamed=RENAMED_PRECISIONS,
    )

    flip: float = _number(
        0.5, Range(0, 1), "Probability of a horizontal flip; 0 if mirror images belong to another class.", AUGMENTATION
    )
    flip_mode: str = _choice(
        "random",
        ("random", "alternate"),
        "How flips are drawn: anew in each epoch, or once and then every other epoch.",
        AUGMENTATION,
        before="random",
    )
    crop_padding: int = _number(
        4, Range(0, 16), "Padding of the random crop, in pixels of a 32 px image.", AUGMENTATION
    )
    crop_mode: str = _choice("reflect", ("reflect", "zero"), "What the padding is filled with.", AUGMENTATION)
    cutout: int = _number(8, Range(0, 32), "Cutout size, in pixels of a 32 px image.", AUGMENTATION)

    val_size: int | None = _number(
        None,
        Range(0, 10**9),
        "Validation images; by default 5,000, or 10% if there are fewer than 50,000 training images.",
        DATA,
    )
    limit_train: int | None = _number(
        None,
        Range(2, 10**9),
        "Train on a stratified sample of this many images; a quick try also limits the test (--limit-test).",
        DATA,
    )
    limit_val: int | None = _number(
        None,
        Range(1, 10**9),
        "Validate on a stratified sample of this many validation images; with --limit-train alone, a tenth of it.",
        DATA,
        before=None,
    )
    limit_test: int | None = _number(
        None,
        Range(1, 10**9),
        "Test on a stratified sample of this many test images, the same for every seed.",
        DATA,
        before=None,
    )
    image_size: int | None = _number(
        None, Range(8, 1024), "Width and height of the images in pixels; by default 32.", DATA
    )

    network: str = _choice("resnet", tuple(NETWORK_STAGES), "Network architecture.", ADVANCED, before="resnet")
    nesterov: bool = _switch(_SGD["nesterov"], "Nesterov momentum (SGD and Muon).", ADVANCED)
    decay_norm_and_bias: bool = _switch(False, "Apply weight decay to batch-norm parameters and biases, too.", ADVANCED)
    head_lr_factor: float = _number(
        2.8,
        Range(0, 1_000, open_low=True),
        "Learning rate of the classifier over that of the filters (Muon only).",
        ADVANCED,
        before=2.8,
    )
    bias_lr_factor: float = _number(
        0.22,
        Range(0, 1_000, open_low=True),
        "Learning rate of biases and batch-norm over that of the filters (Muon only).",
        ADVANCED,
        before=0.22,
    )
    logit_scale: float = _number(
        0.125,
        Range(0, 100, open_low=True),
        "Factor on the logits; below 1 it makes high learning rates stable.",
        ADVANCED,
    )
    whiten: bool = _switch(True, "Initialize the first filters to whiten image patches.", ADVANCED, before=False)
    dirac: bool = _switch(
        True, "Initialize the other convolutions to pass their input through.", ADVANCED, before=False
    )
    compile: bool = _switch(
        False, "Compile the network (torch.compile); train uncompiled where that fails.", ADVANCED, before=False
    )

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if (problem := _problem(spec, value)) is not None:
                close = did_you_mean(value, spec.metadata.get("choices", ())) if isinstance(value, str) else ""
                raise UsageError(f"{problem} ({flag(spec.name)}){close}")

    def as_dict(self) -> dict[str, Any]:
        """The recipe as JSON values, for run.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, older: bool = False) -> Recipe:
        """The recipe that `as_dict` wrote.

        Args:
            older: it may lack the fields that came later; those have the value `before` there was a choice. Values
                may have their old names.

        Raises:
            UnknownField: a field is unknown to this version.
            ValueError: a field is missing, or has a value that is not allowed.
        """
        specs = {spec.name: spec for spec in dataclasses.fields(cls)}
        before = {name: spec.metadata["before"] for name, spec in specs.items() if older and "before" in spec.metadata}
        values = {**before, **values}
        if older:
            values = {name: current(name, value) for name, value in values.items()}
        for name in values:
            if name not in specs:
                raise UnknownField(f"{name} is unknown here")
        for name, spec in specs.items():
            if name not in values:
                raise ValueError(f"{name} is missing")
            if (problem := _problem(spec, values[name])) is not None:
                raise ValueError(problem)
        return cls(**values)

    def steps_per_epoch(self, train_count: int) -> int:
        """Full batches in an epoch of `train_count` images; a smaller last one is dropped."""
        return train_count // self.batch_size


def current(field_name: str, value: Any) -> Any:
    """The value of a field, by its present name if it was once called otherwise."""
    spec = Recipe.__dataclass_fields__.get(field_name)
    renamed = {} if spec is None else spec.metadata.get("renamed", {})
    return renamed.get(value, value) if isinstance(value, str) else value


_KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}


def _problem(spec: dataclasses.Field[Any], value: Any) -> str | None:
    """What is wrong with a field's value, or None."""
    if value is None and str(spec.type).endswith("| None"):
        return None
    wanted = str(spec.type).removesuffix(" | None")
    fits = isinstance(value, _KINDS[wanted]) and (wanted == "bool" or not isinstance(value, bool))
    allowed = spec.metadata.get("range") or spec.metadata.get("choices")
    if fits and (allowed is None or value in allowed):
        return None
    what = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}[wanted]
    if isinstance(allowed, tuple):
        what = f"one of {', '.join(allowed)}"
    elif allowed is not None:
        what += f" in {allowed}"
    return f"{spec.name} is {quoted(value)}, but must be {what}"


def flag(field_name: str) -> str:
    """The command-line option of a field: `max_lr` -> `--max-lr`."""
    return "--recipe" if field_name == "name" else "--" + field_name.replace("_", "-")
