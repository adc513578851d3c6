from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults import random_kills


@pytest.mark.skipif(os.name != "posix", reason="needs kill -9 and fork")
def test_a_run_killed_at_random_equals_an_undisturbed_one(tmp_path: Path) -> None:
    (case,) = [case for case in random_kills.cases() if case.sharp]
    case.check(tmp_path)
