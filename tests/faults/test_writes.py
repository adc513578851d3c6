from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults import writes

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs kill -9 and fork")


@pytest.mark.parametrize(("kind", "scenario", "change"), writes.sharp_cases())
def test_a_fault_at_one_change_of_the_disk_costs_nothing(kind: str, scenario: str, change: str, tmp_path: Path) -> None:
    writes.sharp_case(kind, scenario, change).check(tmp_path)
