"""A real browser, where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.page import chromium as browser

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Chromium, driven by selenium."""
    if (paths := browser.found()) is None:
        pytest.skip("there is no Chromium with its driver: install Debian's chromium and chromium-driver")
    started = browser.start(*paths, tmp_path_factory.mktemp("chromium"))
    yield started
    started.quit()
