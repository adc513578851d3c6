"""`era` with the narrow network, in this process and in all that it starts; `python -m tests.narrow_era fit ...`.

The variable AT_STEP=RANK:STEP:SIGNAL makes a process send itself a signal in a training step, counted from 0 over the
whole run. MEET_WITHIN is how many seconds the processes wait for each other.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from era_cli.core.networks import resnet
from era_cli.core.training import group, module
from tests.faults.small import CHANNELS

resnet.CHANNELS = CHANNELS
group.MEETING_SECONDS = float(os.environ.get("MEET_WITHIN", group.MEETING_SECONDS))

_rank, _step, _signal = (os.environ.get("AT_STEP") or "-:-:-").split(":")
_training_step = module.Classifier.training_step


def _disturbed(self: module.Classifier, batch: Any, batch_idx: int) -> Any:
    if os.environ.get("RANK", "0") == _rank and str(self.trainer.global_step) == _step:
        os.kill(os.getpid(), getattr(signal, _signal))
    return _training_step(self, batch, batch_idx)


module.Classifier.training_step = _disturbed  # type: ignore[method-assign]

if __name__ == "__main__":
    from era_cli.__main__ import main

    main()
