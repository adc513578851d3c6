"""Lightning's Trainer as era uses it, for training and for the learning-rate sweep alike."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from era_cli.core.training import devices
from era_cli.core.training.lightning import (
    ClusterEnvironment,
    DDPStrategy,
    L,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from era_cli.core.training.module import Classifier
from era_cli.core.training.setup import Setup
from era_cli.errors import EraError, is_out_of_memory
from era_cli.place import Place
from era_cli.recipes import Recipe


def run(
    setup: Setup,
    module: Classifier,
    *,
    callbacks: Sequence[L.Callback],
    plugins: Sequence[Any] = (),
    epochs: int = -1,
    steps: int = -1,
    resume_from: Path | None = None,
) -> None:
    """Trains `module` for `epochs` or `steps`, whichever is given; only callbacks write anything.

    Each of `epochs` is validated if there are validation images; `steps` are not.

    Raises:
        EraError: memory ran out.
    """
    with _quiet_lightning(), _memory_explained(setup.recipe):
        trainer = L.Trainer(
            accelerator=setup.device.accelerator,
            **_strategy(setup, module),
            precision=devices.LIGHTNING_PRECISION[setup.device.precision],  # type: ignore[arg-type]
            max_epochs=epochs,
            max_steps=steps,
            limit_val_batches=1.0 if epochs > 0 and len(setup.val_indices) else 0,
            num_sanity_val_steps=0,
            benchmark=True,  # cuDNN times its kernels once for the one size of batch there is
            # The data module gives each epoch its own order.
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=list(callbacks),
            plugins=[_environment(setup.group.place), *plugins],
        )
        if not setup.group.is_alone:
            # era's processes agree on signals after each step; Lightning's handler would wait for the others within it.
            trainer._signal_connector.register_signal_handlers = _nothing  # type: ignore[method-assign]
            trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]
        with setup.group.watched():
            trainer.fit(module, datamodule=setup.data_module(), ckpt_path=resume_from, weights_only=True)


def _strategy(setup: Setup, module: Classifier) -> dict[str, Any]:
    """One device, or several processes whose gradients are averaged: Lightning's DistributedDataParallel."""
    place = setup.group.place
    if place.processes == 1:
        return {"devices": 1}
    return {
        "devices": place.per_node,
        "num_nodes": place.nodes,
        # Unused parameters are those that a network froze. On a CPU they are looked for in any case, so that the
        # gradients are added up in the same order in every step: else the first step after a resume would differ from
        # the same step without.
        "strategy": DDPStrategy(find_unused_parameters=setup.device.accelerator == "cpu" or module.network.freezes),
        "sync_batchnorm": setup.sync_batchnorm,
    }


def _nothing() -> None:
    pass


def _environment(place: Place) -> ClusterEnvironment:
    """What tells Lightning which of several processes this one is."""
    if place.by_slurm:
        return SLURMEnvironment(auto_requeue=False)  # else it would requeue and resume by itself
    return LightningEnvironment() if place.processes == 1 else _Placed(place)


class _Placed(TorchElasticEnvironment):
    """torchrun's variables, of which other launchers leave some out."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    def local_rank(self) -> int:
        """The number of this process on its machine."""
        return self._place.local_rank

    def node_rank(self) -> int:
        """The number of its machine."""
        return self._place.node


def fresh_counters() -> dict[str, Any]:
    """The counters of Lightning's training loop, nested, before its first step; a checkpoint keeps their values."""
    with _quiet_lightning():
        trainer = L.Trainer(
            accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, plugins=[LightningEnvironment()]
        )
        return trainer.fit_loop.state_dict()


@contextlib.contextmanager
def _memory_explained(recipe: Recipe) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise EraError(
            f"memory ran out with batches of {recipe.batch_size}: use a smaller --batch-size or --image-size"
        ) from error


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Suppresses Lightning's remarks, which are about loaders and loggers that era does not use."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        logger.setLevel(level)
