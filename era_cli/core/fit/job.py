"""What the first of several processes tells the others to train."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

DONE = "done"  # instead of another job


@dataclass(frozen=True)
class Job:
    """The run at `run`, described by `document` (run.json's values), with `threads` CPU threads in each process.

    `resume_from` is the checkpoint, which the first process reads for all, or None for a new run.
    """

    run: str
    document: dict[str, Any]
    resume_from: str | None
    threads: int

    def text(self) -> str:
        """The job as it is sent."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def of(cls, text: str) -> Job:
        """The job that was sent."""
        return cls(**json.loads(text))
