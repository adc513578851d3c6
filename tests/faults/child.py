"""`era` with a small network and a fault: `python -m tests.faults.child CHANGES ARGUMENTS` (see `Changes`)."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.faults.small import CHANNELS, DOTS

EXIT = "exit"  # in place of a module: when the interpreter ends
STRUCK = "ERA_TEST_STRUCK"  # names the file that is told when the last signal was sent
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PAUSE = 0  # in place of a signal: the process waits for one
_SMALL = (("era_cli.core.networks.resnet:CHANNELS", repr(CHANNELS)), ("era_cli.reports.style:DPI", repr(DOTS)))


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What differs from `era`.

    Args:
        strikes: signal, place and call: the process sends itself the signal when the place is entered for that time,
            or waits for one (PAUSE).
            A place is `module`, when its import begins, `module:function` or `module:Class.method`.
        set: values that take the place of those at `module:name`, each a Python expression of `old`.
    """

    strikes: Sequence[tuple[int, str, int]] = ()
    set: Sequence[tuple[str, str]] = ()

    def command(self, *arguments: str) -> list[str]:
        """The command line of the child."""
        return [sys.executable, "-m", "tests.faults.child", json.dumps(asdict(self)), *arguments]


class _Hook(MetaPathFinder):
    """Calls `begins` when the module's import begins, and `done` when it is done."""

    def __init__(self, module: str, begins: Callable[[], None], done: Callable[[ModuleType], None]) -> None:
        self._module, self._begins, self._done = module, begins, done

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != self._module:
            return None
        sys.meta_path.remove(self)
        self._begins()
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def executed(module: ModuleType) -> None:
            execute(module)
            self._done(module)

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec


def changed(place: str, change: Callable[[Any], Any]) -> None:
    """Replaces what is at `module:name` by what `change` makes of it, now or once the module is loaded."""
    module, _, name = place.partition(":")
    *owners, last = name.split(".")

    def done(loaded: ModuleType) -> None:
        owner: Any = loaded
        for each in owners:
            owner = getattr(owner, each)
        setattr(owner, last, change(getattr(owner, last)))

    if module in sys.modules:
        done(sys.modules[module])
    else:
        sys.meta_path.insert(0, _Hook(module, lambda: None, done))


def _evaluated(value: str, old: Any) -> Any:
    return eval(value, {"old": old})


def _strike(signum: int) -> None:
    if STRUCK in os.environ:
        Path(os.environ[STRUCK]).write_text(str(time.time()))
    if signum == PAUSE:
        signal.pause()
    else:
        os.kill(os.getpid(), signum)


def _strike_at(signum: int, place: str, call: int) -> None:
    calls = 0

    def struck(old: Callable[..., Any]) -> Callable[..., Any]:
        def new(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                _strike(signum)
            return old(*arguments, **options)

        return new

    if place == EXIT:
        atexit.register(_strike, signum)
    elif ":" in place:
        changed(place, struck)
    else:
        sys.meta_path.insert(0, _Hook(place, lambda: _strike(signum), lambda module: None))


def main() -> None:
    """Runs `era` with the changes that the first argument describes."""
    for ignored in STOPPING:  # nohup and a script's `&` hand on ignored signals, which era rightly goes on ignoring
        signal.signal(ignored, signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL)
    changes = json.loads(sys.argv.pop(1))
    for signum, place, call in changes["strikes"]:
        _strike_at(signum, place, call)
    for place, value in (*_SMALL, *changes["set"]):
        changed(place, functools.partial(_evaluated, value))
    from era_cli.__main__ import main

    main()


if __name__ == "__main__":
    main()
