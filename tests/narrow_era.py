"""`era` with the narrow network, in this process and in all that it starts; `python -m tests.narrow_era fit ...`.

The variable AT_STEP=RANK:STEP:SIGNAL:WHOM makes that process send a signal when it begins a training step, counted from
0 over the whole run: to itself, its parent, or all (every process of the training); BUG instead of a signal raises an
error. MEET_WITHIN is how many seconds the processes wait for each other. The time of the signal is written to the file
STRUCK.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.faults.child import changed
from tests.faults.small import CHANNELS

_RANK, _STEP, _SIGNAL, _WHOM = (os.environ.get("AT_STEP") or ":::").split(":")


def disturb() -> None:
    """Makes the training steps of this process send the signal."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # as `era fit` does before it loads torch
    from era_cli.core.training import group, module

    group.MEETING_SECONDS = float(os.environ.get("MEET_WITHIN", group.MEETING_SECONDS))
    training_step = module.Classifier.training_step

    def disturbed(self: module.Classifier, batch: Any, batch_idx: int) -> Any:
        if str(self.trainer.global_step) == _STEP and (_WHOM == "all" or os.environ.get("RANK", "0") == _RANK):
            if "STRUCK" in os.environ:
                Path(os.environ["STRUCK"]).write_text(str(time.time()), encoding="utf-8")
            if _SIGNAL == "BUG":
                raise RuntimeError("a bug")
            os.kill(os.getppid() if _WHOM == "parent" else os.getpid(), getattr(signal, _SIGNAL))
        return training_step(self, batch, batch_idx)

    module.Classifier.training_step = disturbed  # type: ignore[method-assign]


# One that starts the others trains nothing, and no command loads torch for this.
changed("era_cli.core.networks.resnet:CHANNELS", lambda whole: CHANNELS)
if {"RANK", "SLURM_PROCID"} & set(os.environ) or __name__ == "__mp_main__":
    disturb()

if __name__ == "__main__":
    from era_cli.__main__ import main

    main()
