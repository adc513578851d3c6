"""A verification on a terminal: a row per check, and the verdict in one sentence."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from era_cli.console.terminal import SteadyConsole
from era_cli.console.verify import failure, print_verification, verdict
from era_cli.results import Check, CheckStatus, Verification
from tests.console.support import HOSTILE
from tests.support import too_wide

TORCH = "a different PyTorch version (2.9.0 then, 2.14.1 now)"


def verification(*statuses: CheckStatus, **changes: Any) -> Verification:
    """Checks a, b and so on with these statuses; steps 11 to 15 were replayed."""
    checks = tuple(
        Check(name=name, status=status, detail=f"{name} of it", difference=0.00012 if status == "within" else None)
        for name, status in zip("abcdef", statuses, strict=False)
    )
    return Verification(
        **{"checks": checks, "first_step": 11, "last_step": 15, "changes": (), "cause": None, **changes}
    )


def shown(verification: Verification, width: int = 80) -> str:
    stream = io.StringIO()
    facts = [("run", "runs/digits-1"), ("trained on", "a processor, fp32, 2 threads, torch 2.14.1")]
    print_verification(SteadyConsole(stream, width=width, force_terminal=False), facts, verification)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("found", "status", "told"),
    [
        (verification("identical", "skipped"), "identical", "bit-identical on this machine: steps 11 to 15 replayed"),
        (
            verification("identical", changes=(TORCH,)),
            "identical",
            f"bit-identical even with {TORCH}: steps 11 to 15 replayed",
        ),
        (
            verification("identical", "within", last_step=11, changes=(TORCH,)),
            "within",
            f"reproduced to within 0.00012 with {TORCH}: step 11 replayed",
        ),
        (
            verification("within"),
            "within",
            "reproduced to within 0.00012 on a GPU, whose summation order varies: steps 11 to 15 replayed",
        ),
    ],
)
def test_the_verdict_says_how_close_and_on_what(found: Verification, status: str, told: str) -> None:
    assert (found.status, found.reproduced, verdict(found)) == (status, True, told)
    assert shown(found, 200).splitlines()[-1] == f"{told[0].upper()}{told[1:]}."


def test_weights_that_were_not_compared_are_in_the_verdict() -> None:
    skipped = Check(name="weights", status="skipped", detail="")
    found = verification(checks=(skipped, Check(name="steps", status="identical", detail="")))
    assert verdict(found).endswith(", weights not compared")


def test_a_failure_names_the_first_difference_and_its_cause() -> None:
    found = verification("identical", "differs", "skipped", "differs", "differs", cause="another thing")
    assert (found.status, found.reproduced) == ("differs", False)
    assert failure(found, Path("runs/x")) == (
        "runs/x could not be reproduced: b of it (2 more checks differ); likely cause: another thing"
    )
    one = verification("differs", cause="another thing")
    assert "of it; likely" in failure(one, Path("runs/x"))


def test_a_run_of_which_no_step_was_replayed_is_not_reproduced() -> None:
    found = verification("identical", "skipped", first_step=None, last_step=None)
    assert (found.status, found.reproduced) == ("skipped", False)
    assert failure(found, Path("runs/x")) == "runs/x cannot be verified: b of it"


@pytest.mark.parametrize("width", [60, 80])
def test_every_line_fits(width: int) -> None:
    long = "network.layer1.0.conv.weight: 1 of 73,728 numbers differs, by up to 0.01; " * 3
    checks = tuple(
        Check(name="checkpoints", status="within", detail=text, difference=1.2e-5) for text in (long, *HOSTILE)
    )
    text = shown(verification(checks=checks, changes=(TORCH,)), width)
    assert too_wide(text, width) == []
    assert "\x1b" not in text
    assert "within 1.2e-05" in text
