from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import machine
from tests.faults.case import Case


@pytest.mark.parametrize("case", [case for case in machine.every_case() if case.sharp], ids=lambda case: case.name)
def test_what_the_machine_lacks_is_one_sentence(case: Case, tmp_path: Path) -> None:
    if reason := machine.why_not(case.fault):
        pytest.skip(reason)
    case.check(tmp_path)
