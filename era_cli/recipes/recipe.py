"""Recipe: every hyper-parameter of a run, checked, with the named recipes. Loads no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from era_cli.errors import UsageError

REFERENCE_IMAGE_SIZE = 32  # a recipe gives crop padding and cutout in pixels of an image of this side


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


def _number(default: Any, allowed: Range, text: str) -> Any:
    return field(default=default, metadata={"help": text, "range": allowed})


def _choice(default: str, allowed: tuple[str, ...], text: str) -> Any:
    return field(default=default, metadata={"help": text, "choices": allowed})


def _switch(default: bool, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, **more})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides how a network is trained, apart from the data and the machine.

    Raises:
        UsageError: a value is of the wrong type or out of range; the sentence names the field,
            the value and what is allowed.
    """

    name: str = "default"

    epochs: int = _number(24, Range(1, 10_000), "Passes over the training images.")
    batch_size: int = _number(128, Range(2, 65_536), "Images a step.")
    optimizer: str = _choice("sgd", ("sgd", "adam"), "Optimizer; brings its own peak rate and weight decay.")
    max_lr: float = _number(0.2, Range(0, 100, open_low=True), "Peak of the one-cycle learning rate.")
    momentum: float = _number(0.9, Range(0, 1, open_high=True), "Momentum of SGD; the first beta of Adam.")
    nesterov: bool = _switch(True, "Nesterov's form of momentum (SGD only).")
    weight_decay: float = _number(5e-4, Range(0, 1), "L2 penalty, added to the gradient.")
    decay_norm_and_bias: bool = _switch(False, "Decay batch-norm parameters and biases too.")
    label_smoothing: float = _number(0.1, Range(0, 1, open_high=True), "Share of the target spread evenly.")
    warmup: float = _number(0.25, Range(0, 1, open_low=True, open_high=True), "Share of all steps before the peak.")
    anneal: str = _choice("linear", ("linear", "cos"), "Shape of both halves of the one-cycle rate.")
    div_factor: float = _number(100.0, Range(1, 1e9), "Peak rate over the first rate.")
    final_div_factor: float = _number(100.0, Range(1, 1e9), "First rate over the last rate.")
    dropout: float = _number(0.0, Range(0, 1, open_high=True), "Dropout after each activation.")
    logit_scale: float = _number(
        0.125, Range(0, 100, open_low=True), "Factor on the logits; below 1 it tames high learning rates."
    )
    whiten: bool = _switch(True, "First filters that whiten image patches, not random ones.", before=False)
    dirac: bool = _switch(True, "Convolutions that pass their input on at first, not random ones.", before=False)
    crop_padding: int = _number(4, Range(0, 16), "Random crop: padding, in pixels of a 32 px image.")
    crop_mode: str = _choice("reflect", ("reflect", "zero"), "What the padding is filled with.")
    flip: float = _number(0.5, Range(0, 1), "Chance of a horizontal flip; 0 where mirrored means another class.")
    cutout: int = _number(8, Range(0, 32), "Side of the square cut out, in pixels of a 32 px image.")
    val_size: int | None = _number(
        None,
        Range(0, 10**9),
        "Images held out for validation; by default 5,000, or 10 % of fewer than 50,000.",
    )
    limit_train: int | None = _number(None, Range(2, 10**9), "Train on a stratified sample of this many images.")
    image_size: int | None = _number(None, Range(8, 1024), "Side of the square images, in pixels; by default 32.")
    seed: int = _number(0, Range(0, 2**32 - 1), "Decides the start, the order, the augmentation and the split.")
    precision: str = _choice(
        "auto",
        ("auto", "32", "bf16", "16"),
        "Arithmetic; auto is bf16 where the processor has it, else 32.",
    )

    compile: bool = _switch(False, "Compile the network (torch.compile), or go on without where that fails.")

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            _check(spec, getattr(self, spec.name))

    def steps_per_epoch(self, train_count: int) -> int:
        """Full batches of `train_count` images; a smaller last one is dropped (batch norm)."""
        return train_count // self.batch_size

    def as_dict(self) -> dict[str, Any]:
        """The recipe as JSON values, for run.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe that `as_dict` wrote; a field that came later is as it was `before` there was one.

        Raises:
            UsageError: a field is unknown, or its value is not allowed.
        """
        specs = {spec.name: spec for spec in dataclasses.fields(cls)}
        for name in values:
            if name not in specs:
                raise UsageError(f"{name!r} is no field of a recipe: the run was written by another version of era")
        before = {name: spec.metadata["before"] for name, spec in specs.items() if "before" in spec.metadata}
        return cls(**{**before, **values})


def _check(spec: dataclasses.Field[Any], value: Any) -> None:
    optional = str(spec.type).endswith("| None")
    if value is None and optional:
        return
    wanted = str(spec.type).removesuffix(" | None")
    fits = {
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
    }[wanted]
    allowed = spec.metadata.get("range") or spec.metadata.get("choices")
    if fits and (allowed is None or value in allowed):
        return
    what = _KINDS[wanted]
    if isinstance(allowed, tuple):
        what = f"one of {', '.join(allowed)}"
    elif allowed is not None:
        what += f" in {allowed}"
    raise UsageError(f"{spec.name} is {value!r}, but must be {what} ({flag(spec.name)})")


_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}


def flag(field_name: str) -> str:
    """The command-line option of a field: `max_lr` -> `--max-lr`."""
    return "--" + field_name.replace("_", "-")
