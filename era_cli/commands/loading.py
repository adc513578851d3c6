"""How commands load what they need: the imports in their bodies."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from era_cli.signals import held


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """For imports: no signal breaks them off, and the garbage collector leaves alone what they make.

    A signal raised within the import of torch would abort the process. The imports make hundreds of thousands of
    objects that live to the end: searching them for garbage again and again took a third of a warm `era eval`.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with held():
            yield
    finally:
        if collecting:
            gc.enable()
    if not gc.get_freeze_count():  # once: what a former command in this process left behind must not be kept
        gc.freeze()
