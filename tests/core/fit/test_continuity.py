"""What has changed since a run was trained is named, and what a checkpoint says of it is read back."""

from __future__ import annotations

import dataclasses

from era_cli.core.fit import continuity
from era_cli.runs.document import Versions
from tests.support import run_document


def test_what_has_changed_since_the_run_is_named() -> None:
    recorded = run_document()
    assert continuity.changes(recorded, recorded) == ()
    now = dataclasses.replace(
        recorded,
        device=dataclasses.replace(recorded.device, name="another", threads=1),
        versions=Versions(era="0.1.0", torch="2.15.0", lightning="2.6.6"),
    )
    assert [str(change) for change in continuity.changes(recorded, now)] == [
        "a different processor (a processor then, another now)",
        "a different PyTorch version (2.14.1 then, 2.15.0 now)",
        "a different number of threads (2 then, 1 now)",
    ]


def test_a_checkpoint_without_an_environment_is_of_the_most_recent_session() -> None:
    document = run_document()
    other = dataclasses.replace(document, device=dataclasses.replace(document.device, threads=7))
    own = continuity.trained_by({continuity.KEY: continuity.state_of(other)}, document)
    assert (own.device, own.versions) == (other.device, document.versions)
    assert continuity.trained_by({}, document) is document
