"""Checkpoints of a run: written whole, verified, and loaded as tensors and plain values only.

`last.ckpt` is the newest state, `previous.ckpt` the one before it, should the newest be damaged,
`best.ckpt` the state after the best epoch so far. All three are full training states. Loads no
lightning.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from era_cli.core.networks.resnet import CustomResNet
from era_cli.errors import EraError
from era_cli.files import atomic_link, atomic_write
from era_cli.recipes import Recipe
from era_cli.runs.artifacts import BEST as BEST
from era_cli.runs.artifacts import LAST as LAST
from era_cli.runs.artifacts import PREVIOUS as PREVIOUS
from era_cli.runs.document import RunDocument

_OUTPUT = "linear.bias"  # has one number for each class
_NETWORK = "network."  # prefix of the network's tensors in a Classifier's state


@dataclass(frozen=True)
class Resumable:
    """A sound training state after `step` steps, and a sentence if it is not the one written last."""

    path: Path
    step: int
    note: str | None


def write(state: Mapping[str, Any], path: Path) -> None:
    """Writes a training state to `path`, whole or not at all.

    It is put together in memory first: torch's own writer hides why a disk refused it.

    Raises:
        EraError: the disk refused it; what was there is as before.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def keep_previous(folder: Path) -> None:
    """Keeps the newest state under its second name before it is replaced."""
    if (folder / LAST).exists():
        atomic_link(folder / LAST, folder / PREVIOUS)


def mark_best(folder: Path) -> None:
    """Keeps the newest state as the best one, too."""
    atomic_link(folder / LAST, folder / BEST)


def read(path: Path) -> dict[str, Any]:
    """The training state at `path`, on the CPU.

    Raises:
        EraError: it is absent, damaged, or holds anything but tensors and plain values.
    """
    return _parse(_content(path), path)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise EraError(f"there is no checkpoint {path}") from None
    except OSError as error:
        raise EraError(f"the checkpoint {path} cannot be read ({error.strerror or error})") from error


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if (bad := archive.testzip()) is not None:  # torch.load does not check the sums
                raise zipfile.BadZipFile(f"{bad} fails its checksum")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise EraError(f"the checkpoint {path} is damaged ({error})") from error
    except pickle.UnpicklingError as error:
        raise EraError(
            f"the checkpoint {path} holds more than tensors and numbers, so it is not era's: it was not loaded"
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("state_dict"), Mapping):
        raise EraError(f"the checkpoint {path} is not era's: it has no state_dict")
    return state


def step_of(path: Path) -> int | None:
    """After how many steps the state at `path` was taken, or None where it is absent, damaged or does not say."""
    try:
        return int(read(path)["global_step"])
    except (EraError, KeyError, TypeError, ValueError):
        return None


def newest(folder: Path) -> Resumable:
    """The newest sound training state in `folder`.

    Raises:
        EraError: there is none, or none is sound.
    """
    candidates = [path for path in (folder / LAST, folder / PREVIOUS) if path.exists()]
    if not candidates:
        raise EraError(f"{folder} holds no checkpoint yet: start the run again with era fit")
    faults = []
    for path in candidates:
        try:
            step = int(read(path)["global_step"])
        except EraError as error:
            faults.append(str(error))
        else:
            return Resumable(
                path, step, f"{faults[0]}; going on from {path.name}, the one before it." if faults else None
            )
    raise EraError("; ".join(faults) + ": no state is left to go on from; start a new run")


@dataclass(frozen=True)
class Weights:
    """A network ready to judge, the step that its checkpoint was taken after if that says so, and its SHA-256."""

    network: CustomResNet
    step: int | None
    digest: str


def digest(path: Path) -> str:
    """SHA-256 of the checkpoint's file.

    Raises:
        EraError: it is absent.
    """
    return hashlib.sha256(_content(path)).hexdigest()


def load(document: RunDocument, path: Path) -> Weights:
    """The network of the run described by `document` (run.json), with the weights at `path`.

    Raises:
        EraError: the checkpoint is damaged or of another network.
    """
    content = _content(path)
    state = _parse(content, path)
    step = state.get("global_step")
    return Weights(
        network=_network(document, state, path),
        step=step if isinstance(step, int) else None,
        digest=hashlib.sha256(content).hexdigest(),
    )


def _network(document: RunDocument, state: Mapping[str, Any], path: Path) -> CustomResNet:
    network = new_network(document.recipe, len(document.data.classes))
    tensors = {
        name.removeprefix(_NETWORK): tensor
        for name, tensor in state["state_dict"].items()
        if isinstance(name, str) and name.startswith(_NETWORK) and isinstance(tensor, torch.Tensor)
    }
    wanted, stored = len(document.data.classes), tensors.get(_OUTPUT)
    if stored is not None and stored.ndim == 1 and len(stored) != wanted:
        raise EraError(
            f"the checkpoint {path} tells {len(stored)} classes apart and the run has {wanted}: they are of different"
            " runs; name the checkpoint's own with --run"
        )
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise EraError(
            f"the checkpoint {path} does not fit the network of run.json: they are of different runs"
        ) from error
    return network.eval()


def new_network(recipe: Recipe, classes: int) -> CustomResNet:
    """The recipe's network, freshly drawn from torch's global generator, in channels_last."""
    network = CustomResNet(classes, dropout=recipe.dropout, logit_scale=recipe.logit_scale)
    return network.to(memory_format=torch.channels_last)
