"""Checkpoints of a run: written whole, verified, and loaded as tensors and plain values only.

`last.ckpt` is the most recent state, `previous.ckpt` the one before it, should the last be damaged,
`best.ckpt` the state after the best epoch so far. All three are full training states. Loads no
lightning.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from era_cli.core.networks import checkpoint_archive
from era_cli.errors import EraError
from era_cli.files import atomic_link, atomic_write
from era_cli.regular_file import read_regular
from era_cli.runs.artifacts import BEST, LAST, PREVIOUS

MOST = 1_000_000_000  # bytes of a checkpoint: ten times that of the default network with Adam


def write(state: Mapping[str, Any], path: Path) -> None:
    """Writes a training state to `path`, whole or not at all.

    It is serialised in memory first: torch's own writer hides why a disk refused it.

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
    return parse(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """The checkpoint's file as it is.

    Raises:
        EraError: it is absent, not a file, too large for a checkpoint, or cannot be read.
    """
    try:
        return read_regular(path, MOST)
    except FileNotFoundError:
        raise EraError(f"there is no checkpoint {path}") from None
    except OSError as error:
        raise EraError(f"the checkpoint {path} cannot be read ({error.strerror or error})") from error


def parse(content: bytes, path: Path) -> dict[str, Any]:
    """The training state in `content`, which was read from `path`.

    Raises:
        EraError: it is damaged, or holds anything but tensors and plain values.
    """
    try:
        checkpoint_archive.check(content)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except checkpoint_archive.Foreign as error:
        raise EraError(
            f"the checkpoint {path} holds more than tensors and numbers ({error}), so it is not era's: it was not"
            " loaded"
        ) from error
    except MemoryError as error:
        raise EraError(f"memory ran out while the checkpoint {path} was read: close other programs") from error
    except Exception as error:  # a damaged file makes zipfile, pickle and torch raise all sorts of errors
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EraError(f"the checkpoint {path} is damaged ({reason})") from error
    if not isinstance(state, dict) or not isinstance(state.get("state_dict"), Mapping):
        raise EraError(f"the checkpoint {path} is not era's: it has no state_dict")
    return state


def digest(path: Path) -> str:
    """SHA-256 of the checkpoint's file.

    Raises:
        EraError: it is absent.
    """
    return sha256(read_bytes(path))


def sha256(content: bytes) -> str:
    """SHA-256 of a checkpoint's bytes, by which stored predictions know their weights."""
    return hashlib.sha256(content).hexdigest()
