"""The calls of a process that change the disk: numbered, recorded, and one of them made to kill it or to fail.

`install` replaces the functions of Python by which this process changes files; what C libraries write by themselves is
not seen, and `era` has no such writes below its folders (`tofile` would be one).
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from era_cli.files import TEMPORARY_SUFFIX

# One that fails for want of space, where the disk is and stays full.
_TAKE_SPACE = ("mkdir", "open", "write", "link", "rename")

_CHANGING = (
    *("open", "close", "write", "fsync", "mkdir", "rmdir", "chmod", "fchmod"),
    *("rename", "replace", "link", "unlink", "remove", "truncate", "ftruncate", "utime"),
)


class Call(NamedTuple):
    """One change of the disk.

    `kind` is mkdir, open, write, fsync, chmod, rename (replace, too), link, unlink, rmdir, truncate or utime; `path` is
    what it changes, relative to the watched folder, and `to` the new name. `file` tells open files apart, for open,
    write, fsync and truncate; `offset` and `data` are what was written where, `flags` those of the opening. One that
    `failed` changed nothing; one that the plan let fail is `refused`, and changed nothing but half of what it wrote.
    """

    kind: str
    path: str
    to: str = ""
    file: int = -1
    offset: int = 0
    data: bytes = b""
    flags: int = 0
    failed: bool = False
    refused: bool = False

    @property
    def label(self) -> str:
        """The change without what differs from run to run: rename last.ckpt."""
        name = Path(self.to or self.path).name
        if name.endswith(TEMPORARY_SUFFIX):
            name = name.removeprefix(".").rsplit(".", 2)[0]
        return f"{self.kind} {name}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens at call number `at`, counted from 1; nothing at 0.

    Args:
        error: the number of the error that it raises; 0 kills the process.
        done: it is carried out before, a write by half.
        lasting: every later call that needs what is missing fails, too.
    """

    at: int = 0
    error: int = 0
    done: bool = False
    lasting: bool = False


class Disk:
    """The state of the numbering in this process."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.calls: list[Call] = []
        self._folder = os.path.realpath(folder)
        self._plan = plan
        self._files: dict[int, tuple[str, int]] = {}  # descriptor: path and number of the opening
        self._openings = 0
        self._number = 0

    def absolute(self, path: Any, folder: int | None = None) -> str:
        """The path as a text; `folder` is the descriptor that it is relative to."""
        if isinstance(path, int):
            return self._files.get(path, ("", 0))[0]
        start = "" if folder is None else self._files.get(folder, ("", 0))[0]
        name = os.path.abspath(os.path.join(start, os.fsdecode(path)))  # noqa: PTH100, PTH118
        return os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))  # noqa: PTH118, PTH119, PTH120

    def watched(self, path: str) -> bool:
        """Whether it lies in the watched folder."""
        return path.startswith(self._folder + os.sep)

    def opened(self, descriptor: int, path: str) -> None:
        """From now on the descriptor stands for `path`."""
        self._openings += 1
        self._files[descriptor] = path, self._openings

    def closed(self, descriptor: int) -> None:
        """The descriptor stands for nothing."""
        self._files.pop(descriptor, None)

    def change(
        self, kind: str, path: str, do: Callable[[], Any], half: Callable[[], Any] = lambda: None, **details: Any
    ) -> Any:
        """Does it, unless the plan has something else for this call."""
        if not self.watched(path):
            return do()
        self._number += 1
        plan, number = self._plan, self._number
        to = details.pop("to", "")
        relative = os.path.relpath(path, self._folder)
        call = Call(kind, relative, os.path.relpath(to, self._folder) if to else "", **details)
        if number == plan.at and not plan.error:
            if plan.done:
                half() if kind == "write" else do()
            os.kill(os.getpid(), signal.SIGKILL)
        if plan.error and (number == plan.at or (plan.lasting and 0 < plan.at < number and self._fails(call))):
            if plan.done and kind == "write":
                half()
            self.calls.append(call._replace(failed=True, refused=True))
            raise OSError(plan.error, os.strerror(plan.error), path)
        try:
            done = do()
        except OSError:
            self.calls.append(call._replace(failed=True))
            raise
        self.calls.append(call)
        return done

    def file(self, descriptor: int) -> tuple[str, int]:
        """The path and the number of the opening that the descriptor stands for; an empty path for none."""
        return self._files.get(descriptor, ("", -1))

    def opening(self) -> int:
        """The number of the next opening."""
        return self._openings + 1

    def _fails(self, call: Call) -> bool:
        if self._plan.error in (errno.ENOSPC, errno.EDQUOT):
            return call.kind in _TAKE_SPACE
        return True


def install(folder: Path, plan: Plan) -> Disk:
    """Watches what this process changes in `folder` from now on."""
    disk = Disk(folder, plan)
    real = {name: getattr(os, name) for name in _CHANGING}
    real_open = io.open

    def one_path(kind: str, name: str) -> None:
        def patched(path: Any, *rest: Any, **options: Any) -> Any:
            where = disk.absolute(path, options.get("dir_fd"))
            return disk.change(kind, where, lambda: real[name](path, *rest, **options))

        setattr(os, name, patched)

    def two_paths(kind: str, name: str) -> None:
        def patched(path: Any, to: Any, **options: Any) -> Any:
            old = disk.absolute(path, options.get("src_dir_fd"))
            new = disk.absolute(to, options.get("dst_dir_fd"))
            return disk.change(kind, old, lambda: real[name](path, to, **options), to=new)

        setattr(os, name, patched)

    def on_file(kind: str, name: str) -> None:
        def patched(descriptor: int, *rest: Any) -> Any:
            path, file = disk.file(descriptor)
            return disk.change(kind, path, lambda: real[name](descriptor, *rest), file=file)

        setattr(os, name, patched)

    for kind in ("mkdir", "rmdir", "chmod", "unlink", "truncate", "utime"):
        one_path(kind, kind)
    one_path("unlink", "remove")
    two_paths("rename", "rename")
    two_paths("rename", "replace")
    two_paths("link", "link")
    for kind, name in (("fsync", "fsync"), ("chmod", "fchmod"), ("truncate", "ftruncate")):
        on_file(kind, name)

    def os_open(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        where = disk.absolute(path, options.get("dir_fd"))

        def do() -> int:
            descriptor: int = real["open"](path, flags, *rest, **options)
            disk.opened(descriptor, where)
            return descriptor

        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            return do()
        return int(disk.change("open", where, do, file=disk.opening(), flags=flags))

    def os_close(descriptor: int) -> None:
        disk.closed(descriptor)
        real["close"](descriptor)

    def write(descriptor: int, data: Any, do: Callable[[Any], int]) -> int:
        path, file = disk.file(descriptor)
        content = bytes(data)
        if not disk.watched(path):
            return do(data)
        appends = _flags(descriptor) & os.O_APPEND
        offset = os.fstat(descriptor).st_size if appends else os.lseek(descriptor, 0, os.SEEK_CUR)
        half = content[: len(content) // 2]
        return int(
            disk.change("write", path, lambda: do(data), lambda: do(half), file=file, offset=offset, data=content)
        )

    def os_write(descriptor: int, data: Any) -> int:
        return write(descriptor, data, lambda part: real["write"](descriptor, part))

    class Raw(io.FileIO):
        """An unbuffered file whose writes are seen."""

        def write(self, data: Any) -> int:
            return write(self.fileno(), data, lambda part: int(io.FileIO.write(self, part) or 0))

        def truncate(self, size: int | None = None) -> int:
            path, file = disk.file(self.fileno())
            return int(disk.change("truncate", path, lambda: io.FileIO.truncate(self, size), file=file))

        def close(self) -> None:
            if not self.closed and self.closefd:
                disk.closed(self.fileno())
            io.FileIO.close(self)

    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        where = disk.absolute(file)
        if opener is not None or not set(mode) & set("wax+") or not disk.watched(where):
            return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        plain = mode.replace("b", "").replace("t", "")

        def do() -> Raw:
            raw = Raw(file, plain, closefd)
            if not isinstance(file, int):
                disk.opened(raw.fileno(), where)
            return raw

        if isinstance(file, int):
            raw = do()
        else:
            raw = disk.change("open", where, do, file=disk.opening(), flags=_FLAGS[plain.replace("+", "")])
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        buffered = io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=buffering == 1)

    patches = {"open": os_open, "close": os_close, "write": os_write}
    for name, patch in patches.items():
        setattr(os, name, patch)
    for module in (io, builtins, __import__("_io")):
        module.open = opened  # type: ignore[attr-defined]
    return disk


_FLAGS = {
    "r": os.O_RDWR,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
}


def _flags(descriptor: int) -> int:
    import fcntl  # there is none on Windows, where nothing is killed

    return fcntl.fcntl(descriptor, fcntl.F_GETFL)


def save(calls: list[Call], path: Path) -> None:
    """Keeps a recording; not for a file in the watched folder."""
    path.write_bytes(pickle.dumps(calls))


def load(path: Path) -> list[Call]:
    """What `save` kept."""
    return pickle.loads(path.read_bytes())
