"""What is replayed is at most an epoch, unless the whole run is asked for."""

from __future__ import annotations

import pytest

from era_cli.core.verify.span import NotReplayable, Span, span


@pytest.mark.parametrize(
    ("last", "previous", "asked", "steps"),
    [
        (15, 10, {}, Span("previous.ckpt", 11, 15)),
        (12, 10, {}, Span("previous.ckpt", 11, 12)),
        (15, 10, {"most": 2}, Span("previous.ckpt", 11, 12)),
        (15, 10, {"most": 50}, Span("previous.ckpt", 11, 15)),
        (15, 10, {"from_scratch": True}, Span(None, 1, 15)),
        (15, None, {"from_scratch": True, "most": 3}, Span(None, 1, 3)),
        (4, None, {}, Span(None, 1, 4)),
        (4, 4, {}, Span(None, 1, 4)),
    ],
)
def test_steps_begin_after_the_previous_state(
    last: int, previous: int | None, asked: dict[str, int], steps: Span
) -> None:
    assert span(last, previous, 5, **{"from_scratch": False, "most": None, **asked}) == steps  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("last", "previous", "why"),
    [(15, None, "--from-scratch"), (15, 15, "--from-scratch"), (None, 10, "no valid last.ckpt")],
)
def test_what_cannot_be_replayed_says_why(last: int | None, previous: int | None, why: str) -> None:
    with pytest.raises(NotReplayable, match=why):
        span(last, previous, 5, from_scratch=False, most=None)
