"""From what --data says to a Dataset."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from era_cli.core.data import cifar10, digits, folder
from era_cli.core.data.dataset import Dataset
from era_cli.errors import UsageError
from era_cli.listener import Listener

DEFAULT_IMAGE_SIZE = 32
NAMED = ("cifar10", "digits")


def load(
    source: str,
    *,
    image_size: int | None,
    data_dir: Path | None,
    strict: bool,
    listener: Listener,
) -> Dataset:
    """Loads `cifar10`, `digits` or the folder at the path `source`.

    Args:
        strict: refuse a folder with an unreadable image instead of leaving the image out.

    Raises:
        UsageError: there is no such source.
        EraError: the data are absent or damaged.
    """
    size = image_size or DEFAULT_IMAGE_SIZE
    if source == "cifar10":
        return cifar10.load(size, data_dir, listener)
    if source == "digits":
        return digits.load(size)
    path = Path(source).expanduser()
    if not path.is_dir():
        meant = get_close_matches(source, NAMED, n=1)
        hint = f" (did you mean {meant[0]}?)" if meant else ""
        raise UsageError(
            f"there is no folder {source!r}{hint}: --data takes cifar10, digits, or a folder of class folders"
        )
    return folder.load(path.resolve(), size, strict, listener)
