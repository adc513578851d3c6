from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import signals
from tests.faults.case import Case


@pytest.mark.parametrize("case", [case for case in signals.cases() if case.sharp], ids=lambda case: case.name)
def test_a_signal_ends_a_command_at_once_and_cleanly(case: Case, tmp_path: Path) -> None:
    case.check(tmp_path)
