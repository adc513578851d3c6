"""From a request to everything that training takes but a run folder: data loaded, machine checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from era_cli.core.data import run_data, sources, splits
from era_cli.core.data.dataset import Dataset, absent_class, mean_and_std, skipped_note
from era_cli.core.data.normalize import Normalization
from era_cli.core.networks import networks
from era_cli.core.seeds import Stream, derived_seed
from era_cli.core.training import devices
from era_cli.core.training.augment import Augmentation
from era_cli.core.training.data_module import EraDataModule
from era_cli.core.training.group import NOBODY_ELSE, Group
from era_cli.core.training.module import Classifier
from era_cli.core.training.request import SMALLEST_SHARE, Request, check_batch
from era_cli.core.training.schedules import Schedule
from era_cli.errors import UsageError
from era_cli.listener import Listener
from era_cli.recipes import Recipe
from era_cli.results import Labels
from era_cli.runs.document import RunDocument
from era_cli.text import plural

FEWEST_STEPS_PER_EPOCH = 8  # below, the default batch size is reduced
SMALLEST_BATCH = 4


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is trained, on which images, on which processor.

    `notes` is what the person should read first, `warnings` what makes a result doubtful.
    """

    recipe: Recipe
    dataset: Dataset
    train_indices: Labels
    val_indices: Labels
    test_indices: Labels
    normalization: Normalization
    device: devices.Device
    group: Group = NOBODY_ELSE
    sync_batchnorm: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: Request, listener: Listener, group: Group = NOBODY_ELSE) -> Setup:
        """Checks the machine, loads and splits the data, and fits the recipe to them.

        Raises:
            EraError: the device is absent, or the data are absent, damaged or too few.
        """
        device = devices.choose(request.gpus, request.recipe.precision, group.place)
        if request.sync_batchnorm and (device.accelerator != "cuda" or group.is_alone):
            raise UsageError("--sync-batchnorm needs several GPUs: leave it out, or use --gpus 2 or more")
        dataset = sources.load(
            request.data,
            image_size=request.recipe.image_size,
            data_dir=request.data_dir,
            strict=request.strict,
            listener=listener,
        )
        recipe = request.recipe
        if not dataset.mirrors and "flip" not in request.given:
            recipe = dataclasses.replace(recipe, flip=0.0)
        data = run_data.split(dataset, recipe)
        _require_every_class(data)
        recipe, batch_note = _with_fitting_batch(recipe, len(data.train), request, group.place.processes)
        check_batch(recipe.batch_size, group.place.processes)
        processes, validated = group.place.processes, len(data.val)
        if 0 < validated < processes:
            raise UsageError(
                f"{plural(validated, 'validation image')} cannot be divided among {processes} processes: use fewer"
                " processes, a larger --val-size or --limit-val, or --val-size 0"
            )
        # What was left to the data is settled now, so that a resumed run has it in its recipe.
        recipe = dataclasses.replace(
            splits.settled(dataset.labels[dataset.train], recipe), image_size=dataset.image_size
        )
        return cls(
            recipe=recipe,
            dataset=dataset,
            train_indices=data.train,
            val_indices=data.val,
            test_indices=data.test,
            normalization=Normalization(*mean_and_std(dataset.images, data.train)),
            device=device,
            group=group,
            sync_batchnorm=request.sync_batchnorm,
            notes=(*machine_notes(device), *batch_note),
            warnings=data_warnings(dataset),
        )

    @classmethod
    def of_run(
        cls, document: RunDocument, data: run_data.RunData, device: devices.Device, group: Group = NOBODY_ELSE
    ) -> Setup:
        """That of the run described by `document` (run.json), to be continued on its `data`."""
        return cls(
            recipe=document.recipe,
            dataset=data.dataset,
            train_indices=data.train,
            val_indices=data.val,
            test_indices=data.test,
            normalization=Normalization.of(document),
            device=device,
            group=group,
            sync_batchnorm=document.device.sync_batchnorm,
            notes=machine_notes(device),
            warnings=data_warnings(data.dataset),
        )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch."""
        return splits.steps_per_epoch(self.train_indices, self.recipe)

    @property
    def splits(self) -> dict[str, Labels]:
        """The indices of the images of each split."""
        return {"train": self.train_indices, "val": self.val_indices, "test": self.test_indices}

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self.recipe.epochs

    @property
    def augmentation(self) -> Augmentation:
        """The recipe's augmentation at this source's image size."""
        return Augmentation.of(self.recipe, self.dataset.image_size, self.normalization.mean)

    @property
    def alternating_flip(self) -> float:
        """The fraction of the images that is mirrored in the first epoch, and in every other one from then on."""
        return self.recipe.flip if self.recipe.flip_mode == "alternate" else 0.0

    def classifier(self, schedule: Schedule, note: Callable[[str], None]) -> Classifier:
        """A network with the seed's initial weights, ready to train by `schedule`; `note` is told of problems."""
        torch.manual_seed(derived_seed(self.recipe.seed, Stream.START))
        network = networks.build(self.recipe, len(self.dataset.classes))
        network.initialize(self.recipe, self.dataset, self.train_indices, self.normalization)
        return Classifier(
            network,
            self.recipe,
            self.augmentation,
            self.normalization,
            schedule,
            self.steps_per_epoch,
            note,
            self.group,
        )

    def data_module(self) -> EraDataModule:
        """The batches of both splits, in the seed's order."""
        return EraDataModule(
            self.dataset,
            self.train_indices,
            self.val_indices,
            self.recipe.batch_size,
            self.steps_per_epoch,
            self.recipe.seed,
            self.group.share,
            self.alternating_flip,
        )


def machine_notes(device: devices.Device) -> tuple[str, ...]:
    """What a person should know about the machine."""
    notes = []
    if device.emulated:
        notes.append(f"{device.name} emulates bf16 in software, which is slow: --precision fp32 is faster on it.")
    if device.accelerator == "mps":
        notes.append("era has not been tried on Apple's GPU: should it fail, --gpus 0 uses the CPU.")
    return tuple(notes)


def data_warnings(dataset: Dataset) -> tuple[str, ...]:
    """What a person should know about the data."""
    return (skipped_note(dataset),) if dataset.skipped else ()


def _require_every_class(data: run_data.RunData) -> None:
    if (name := absent_class(data.dataset.classes, data.dataset.labels[data.train])) is not None:
        raise UsageError(
            f"class {name!r} has no training image left after the splits: give it more images,"
            " a smaller --val-size or a larger --limit-train"
        )


def _with_fitting_batch(recipe: Recipe, count: int, request: Request, processes: int) -> tuple[Recipe, tuple[str, ...]]:
    """A smaller batch for few images, unless the person named one, and a sentence that says so.

    It can be divided by the number of `processes`, of which none gets a batch of one.

    SGD's peak shrinks in proportion (Goyal et al. 2017, arXiv:1706.02677), unless it was named or a sweep picks it.
    """
    if "batch_size" in request.given or count // recipe.batch_size >= FEWEST_STEPS_PER_EPOCH:
        return recipe, ()
    batch = max(SMALLEST_BATCH, 2 ** int(math.log2(max(1, count / FEWEST_STEPS_PER_EPOCH))))
    batch = max(SMALLEST_SHARE * processes, batch // processes * processes)
    changes: dict[str, Any] = {"batch_size": batch}
    if recipe.optimizer == "sgd" and "max_lr" not in request.given:
        changes["max_lr"] = recipe.max_lr * batch / recipe.batch_size
    smaller = dataclasses.replace(recipe, **changes)
    few = f"{count} training images are too few for batch size {recipe.batch_size}; using {batch}"
    if request.find_lr or smaller.max_lr == recipe.max_lr:
        return smaller, (f"{few} (--batch-size sets another).",)
    rates = f"a peak learning rate of {smaller.max_lr:g} instead of {recipe.max_lr:g}"
    return smaller, (f"{few}, with {rates} (--batch-size and --max-lr set others).",)
