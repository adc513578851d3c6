"""How commands load what they need: the imports in their bodies."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING

from era_cli.signals import ending

if TYPE_CHECKING:
    from era_cli.console.progress import WorkProgress


@contextlib.contextmanager
def loading(progress: WorkProgress | None = None, *, quiet: bool = False) -> Iterator[WorkProgress]:
    """For imports that take seconds, said on `progress`; without it, on one that is made and yielded.

    A signal ends the process meanwhile. The garbage collector leaves alone what they make: hundreds of thousands of
    objects that live to the end, and searching them for garbage again and again took a third of a warm `era eval`.
    """
    if progress is None:
        with ending():
            from era_cli.console.progress import WorkProgress
        progress = WorkProgress(quiet=quiet)
    collecting = gc.isenabled()
    gc.disable()
    try:
        with ending(), progress.waiting("loading PyTorch"):
            yield progress
    finally:
        if collecting:
            gc.enable()
    if not gc.get_freeze_count():  # once: what a former command in this process left behind must not be kept
        gc.freeze()
