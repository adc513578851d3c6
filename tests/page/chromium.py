"""A real Chromium, driven by selenium."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# No sandbox, since root may not have one; the others keep Chromium from asking the network for its own ends.
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
    "--hide-scrollbars",
)
WIDE, PHONE = (1200, 900), (380, 740)


def found() -> tuple[str, str] | None:
    """The paths of the browser and its driver, if both are installed."""
    browser, driver = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")
    return None if browser is None or driver is None else (browser, driver)


def start(browser: str, driver: str, profile: Path) -> Chrome:
    """Starts it; it logs what its console says and what it requests."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(driver))


def look(chromium: Chrome, size: tuple[int, int], scheme: str = "light", scale: float = 1) -> None:
    """Sets the window's size in pixels of the page, a phone's if narrow, and whether the person prefers dark."""
    shape = {"width": size[0], "height": size[1], "deviceScaleFactor": scale, "mobile": size[0] < 500}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
