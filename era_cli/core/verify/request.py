"""What a person asks of `era verify`. Loads no torch, so that what is wrong with it is said at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from era_cli.core.data import run_data
from era_cli.runs import artifacts
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class VerifyRequest:
    """Which run to verify, described by `document` (run.json).

    `source` is where its images are now, if they have moved; `steps` how many steps to replay at most; with
    `from_scratch` they are replayed from the first, else from the checkpoint before the last.
    """

    run: Run
    document: RunDocument
    source: str | None
    data_dir: Path | None
    gpus: str
    steps: int | None
    from_scratch: bool

    def check(self) -> None:
        """Refuses what can be seen to be wrong without a look at an image or a checkpoint.

        Raises:
            EraError: the run has no checkpoint yet, or its images are absent.
        """
        artifacts.training_states(self.run.checkpoints)
        run_data.check(self.run, self.document, source=self.source, data_dir=self.data_dir)

    @property
    def wanted_gpus(self) -> str:
        """`--gpus`, where `auto` is the kind of processor that the run was trained on."""
        return "0" if self.gpus == "auto" and self.document.device.accelerator == "cpu" else self.gpus
