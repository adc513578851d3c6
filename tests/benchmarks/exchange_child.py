"""`era` whose processes train the last epoch each by itself, and time themselves; for `processes_scaling`.

All epochs but the last are those of `era fit`. In the last one nothing goes from process to process:
DistributedDataParallel exchanges no gradients and no buffers, and what the processes agree on after every step each
decides alone. In the end every process writes two things to the file RANK.json in the folder RATES_IN: `rates`, the
images/s of each epoch by its own clock, an image counted in whichever process it is; and `weights`, their sum.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from torch.nn.parallel import DistributedDataParallel

from era_cli.core.fit.run_writer import RunWriter
from era_cli.core.training.group import NOBODY_ELSE
from era_cli.core.training.lightning import L

_epoch_end = RunWriter.on_train_epoch_end


def _part(self: RunWriter, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
    if not self._group.is_alone and trainer.current_epoch + 1 == trainer.max_epochs:
        model = trainer.strategy.model
        assert isinstance(model, DistributedDataParallel)
        # As no_sync() has it after its first step, which would still exchange the buffers.
        model.require_backward_grad_sync = model.require_forward_param_sync = False
        self._group = NOBODY_ELSE


def _tell(self: RunWriter, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
    _epoch_end(self, trainer, pl_module)
    told = {
        "rates": [row.images_per_second for row in self._rows.epochs],
        "weights": sum(float(weight.double().sum()) for weight in pl_module.parameters()),
    }
    Path(os.environ["RATES_IN"], f"{trainer.global_rank}.json").write_text(json.dumps(told), encoding="ascii")


# Not under __main__: every process that era starts imports this module under another name.
RunWriter.on_train_epoch_start = _part  # type: ignore[assignment,method-assign]
RunWriter.on_train_epoch_end = _tell  # type: ignore[method-assign]

if __name__ == "__main__":
    from era_cli.__main__ import main

    main()
