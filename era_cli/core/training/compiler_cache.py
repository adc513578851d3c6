"""Where torch's compiler keeps what it compiled: a folder that nobody else can write.

Its own default is a folder of a known name in the system's temporary one. Whoever makes that first has code and pickles
of theirs executed (torch 2.14, torch/_inductor/runtime/cache_dir_utils.py).
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from pathlib import Path

import platformdirs

VARIABLES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}  # and the folder within ours

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def settle() -> None:
    """Points the compiler at era's folder in the user's cache, unless the person named one in the environment.

    Where that folder is not the user's alone, a new one takes its place until the process ends.

    Raises:
        OSError: no folder can be made.
    """
    if all(variable in os.environ for variable in VARIABLES):
        return
    folder = Path(platformdirs.user_cache_dir("era")) / "compiled"
    if not _private(folder):
        folder = Path(tempfile.mkdtemp(prefix="era-compiled-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for variable, name in VARIABLES.items():
        os.environ.setdefault(variable, str(folder / name))


def _private(folder: Path) -> bool:
    """Makes the folder if it is absent; whether nobody but the user, and root, can write in it or replace it."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if os.name == "nt":
            return True
        about = folder.parent.stat()
        if about.st_uid == os.getuid():  # made under a umask that lets the group write
            folder.parent.chmod(about.st_mode & ~_OTHERS_WRITE)
        above = {*folder.absolute().parents, *folder.resolve().parents}
        own = folder.lstat()
        return (
            stat.S_ISDIR(own.st_mode)
            and own.st_uid == os.getuid()
            and not own.st_mode & _OTHERS_WRITE
            and all(map(_trusted, above))
        )
    except OSError:
        return False


def _trusted(folder: Path) -> bool:
    """Whether nobody else can take away what lies in the folder; in a sticky one they cannot."""
    about = folder.stat()
    replaceable = about.st_mode & _OTHERS_WRITE and not about.st_mode & stat.S_ISVTX
    return about.st_uid in (0, os.getuid()) and not replaceable
