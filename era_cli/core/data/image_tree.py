"""The class folders and image files of a data folder, never outside of it."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from era_cli.core.data.image_file import suffixes
from era_cli.errors import EraError
from era_cli.text import plural

DEEPEST = 32  # folders within a class folder
MOST = 20_000_000  # files and folders within all class folders; ImageNet-21k has 14 million
# How the names of images end that era does not read: photos of cameras and phones, drawings, scans, icons.
OTHER_SUFFIXES = frozenset(
    {".arw", ".cr2", ".dds", ".dng", ".eps", ".exr", ".heic", ".heif", ".ico", ".jxl", ".nef", ".psd", ".qoi", ".svg"}
)
_SHOWN = 3  # suffixes in a sentence


def folders(root: Path, folder: Path) -> list[Path]:
    """The folders in `folder`, which is `root` or in it, except hidden ones.

    Raises:
        EraError: one is a link that leads out of `root`, or to nothing.
    """
    paths = []
    for path in folder.iterdir():
        if path.name.startswith((".", "__")):
            continue
        if path.is_symlink() and not path.is_file():
            _refuse_link_out(root, path)
            if not path.is_dir():
                raise EraError(f"{path} is a broken link: restore its target, or remove it")
        if path.is_dir():
            paths.append(path)
    return paths


class ImageTree:
    """The image files of the class folders in `root`, of at most MOST files and folders altogether.

    Those that were left out so far are counted: `linked_folders`, which are not followed, and, by their suffix, images
    in `other_formats`.
    """

    def __init__(self, root: Path) -> None:
        self.linked_folders = 0
        self.other_formats: Counter[str] = Counter()
        self._root = root
        self._seen = 0

    def files(self, folder: Path) -> Iterator[Path]:
        """The image files below the class folder, sorted by their parts, except hidden ones.

        Among them are those that will turn out to be unreadable: pipes, dangling links, and folders that may not be
        listed.

        Raises:
            EraError: the folder may not be listed, a link leads out of the root, or there is too much in it.
        """
        try:
            yield from self._files(folder, 0)
        except PermissionError as error:
            raise EraError(
                f"the class folder {folder} cannot be read ({error.strerror}): fix its permissions, or remove it"
            ) from error

    def _files(self, folder: Path, depth: int) -> Iterator[Path]:
        for entry in self._entries(folder):
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and os.path.isdir(path):  # noqa: PTH112 - it never raises
                _refuse_link_out(self._root, path)
                self.linked_folders += 1
            elif not entry.is_dir(follow_symlinks=False):
                if self._is_image(path):
                    if entry.is_symlink():
                        _refuse_link_out(self._root, path)
                    yield path
            elif depth == DEEPEST:
                raise EraError(f"{path} is more than {DEEPEST} folders deep in its class: move its images up")
            else:
                try:
                    yield from self._files(path, depth + 1)
                except PermissionError:
                    yield path

    def left_out(self) -> list[str]:
        """Sentences about what may be images and was left out."""
        sentences = []
        if count := self.other_formats.total():
            shown = [f"{number:,} {suffix}" for suffix, number in self.other_formats.most_common(_SHOWN)]
            rest = len(self.other_formats) - len(shown)
            more = f" and {plural(rest, 'more format')}" if rest else ""
            sentences.append(
                f"{plural(count, 'image')} in a format that era does not read {_are(count)} left out"
                f" ({', '.join(shown)}{more}): convert them to PNG or JPEG."
            )
        if count := self.linked_folders:
            sentences.append(
                f"{plural(count, 'link')} to a folder {_are(count)} left out: images are read where they are, not"
                " through such links."
            )
        return sentences

    def _is_image(self, path: Path) -> bool:
        suffix = path.suffix.lower()
        if suffix in suffixes():
            return True
        if suffix in OTHER_SUFFIXES:
            self.other_formats[suffix] += 1
        return False

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        with os.scandir(folder) as scan:
            entries = list(itertools.islice(scan, MOST - self._seen + 1))
        self._seen += len(entries)
        if self._seen > MOST:
            raise EraError(
                f"{self._root} holds more than {MOST:,} files and folders: is that the folder of your images?"
                " Name one with fewer"
            )
        return sorted(entries, key=lambda entry: entry.name)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _refuse_link_out(root: Path, link: Path) -> None:
    target, inside = Path(os.path.realpath(link)), Path(os.path.realpath(root))
    if not target.is_relative_to(inside):
        raise EraError(
            f"{link} is a link to {target}, outside {root}, which era does not follow:"
            " replace it with a copy (cp -rL follows links) or with hard links (cp -rlL)"
        )
