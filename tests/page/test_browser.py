"""The page in a real browser: what it shows, how it is used, and that it keeps to itself."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from era_cli.page import page
from era_cli.results import Report
from tests.page.chromium import PHONE, WIDE, look
from tests.page.support import CLASSES, HOSTILE, compared, evaluation, report
from tests.reports.support import pictures

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

pytestmark = pytest.mark.browser

COUNT, SIDE = 300, 8


class Page:
    """A page in the browser: its elements by CSS selectors, and what a person does to them."""

    def __init__(self, chromium: Chrome, folder: Path, text: str) -> None:
        self.chromium = chromium
        file = folder / "report.html"
        file.write_text(text, encoding="utf-8")
        self.address = file.as_uri()
        self.open()

    def open(self, size: tuple[int, int] = WIDE, scheme: str = "light", *, script: bool = True) -> None:
        """Opens the page anew."""
        look(self.chromium, size, scheme)
        self.chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
        for log in ("browser", "performance"):
            self.chromium.get_log(log)
        self.chromium.get(self.address)

    def run(self, script: str, *arguments: object) -> Any:
        return self.chromium.execute_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        return self.chromium.find_elements("css selector", selector)

    def one(self, selector: str) -> WebElement:
        return self.chromium.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        return self.one(selector).text

    def choose(self, name: str, text: str) -> None:
        """Chooses an entry of one of the gallery's selects."""
        from selenium.webdriver.support.ui import Select

        Select(self.one(f"select[name={name}]")).select_by_visible_text(text)

    def press(self, *keys: str) -> None:
        """Presses keys where the focus is."""
        self.chromium.switch_to.active_element.send_keys(*keys)

    def rows(self) -> list[int]:
        """The images of the gallery, by their rows among those of the page."""
        return [int(tile.get_attribute("data-row") or -1) for tile in self.all(".tile")]

    def pixels(self, selector: str) -> npt.NDArray[np.uint8]:
        """What is drawn on a canvas, (H, W, 4)."""
        canvas = self.one(selector)
        self.chromium.execute_async_script(
            "const [canvas, done] = arguments;"
            " const look = () => (canvas.ariaBusy ? setTimeout(look, 20) : done()); look();",
            canvas,
        )
        script = (
            "const { width, height } = arguments[0];"
            " const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });"
            " copy.drawImage(arguments[0], 0, 0); return [...copy.getImageData(0, 0, width, height).data];"
        )
        values = np.array(self.run(script, canvas), np.uint8)
        return values.reshape(int(canvas.get_property("height")), int(canvas.get_property("width")), 4)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made() -> tuple[Report, str]:
    whole, images = report(evaluation(COUNT), pictures(COUNT, SIDE))
    return whole, page.render(whole, images)


@pytest.fixture
def shown(chromium: Chrome, made: tuple[Report, str], tmp_path: Path) -> Iterator[Page]:
    """The page, which must have kept to itself and logged nothing when the test is done."""
    opened = Page(chromium, tmp_path, made[1])
    yield opened
    assert chromium.get_log("browser") == []
    requests = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    addresses = [each["params"]["request"]["url"] for each in requests if each["method"] == "Network.requestWillBeSent"]
    assert addresses[0] == opened.address
    assert [each for each in addresses[1:] if not each.startswith("data:")] == []


def test_a_cell_of_the_confusion_matrix_shows_its_images(shown: Page, made: tuple[Report, str]) -> None:
    gallery, counts = made[0].gallery.heatmaps, made[0].metrics.confusion
    shown.one('.matrix td[data-true="0"][data-predicted="2"]').click()
    rows = shown.rows()
    assert len(rows) == counts[0, 2]
    assert gallery.labels is not None
    assert {(gallery.labels[row], gallery.predicted[row]) for row in rows} == {(0, 2)}
    assert shown.text(".count") == f"{counts[0, 2]} images"
    assert shown.one('.matrix td[aria-selected="true"]').get_attribute("data-predicted") == "2"
    shown.one('.matrix td[data-true="1"][data-predicted="1"]').click()  # of the right ones there are only some
    assert shown.text(".count") == f"{len(shown.rows())} of {counts[1, 1]} images"


def test_filters_and_sorting(shown: Page, made: tuple[Report, str]) -> None:
    gallery = made[0].gallery
    wrong, _, uncertain = gallery.groups
    assert shown.rows() == wrong.rows.tolist()[:60]
    shown.choose("order", "loss, highest first")
    losses = gallery.losses[shown.rows()]
    assert losses.tolist() == sorted(gallery.losses[wrong.rows], reverse=True)[:60]
    shown.choose("true", "dog")
    assert gallery.heatmaps.labels is not None
    assert set(gallery.heatmaps.labels[shown.rows()]) == {CLASSES.index("dog")}
    shown.choose("predicted", "dog")
    assert (shown.text(".count"), shown.rows()) == ("0 images", [])
    shown.choose("group", "Least certain correct")
    expected = [row for row in uncertain.rows if gallery.heatmaps.labels[row] == CLASSES.index("dog")]
    assert sorted(shown.rows()) == sorted(expected)
    shown.one(".filters button[type=reset]").click()
    shown.chromium.execute_async_script("setTimeout(arguments[0], 50)")
    assert shown.rows() == wrong.rows.tolist()[:60]


def test_the_count_says_what_the_page_leaves_out(chromium: Chrome, tmp_path: Path) -> None:
    made, images = report(evaluation(2_000), pictures(2_000, SIDE), room=40_000)
    shown = Page(chromium, tmp_path, page.render(made, images))
    labels, confusion = made.gallery.heatmaps.labels, made.metrics.confusion
    assert labels is not None
    rows = made.gallery.groups[0].rows
    shown.choose("true", "dog")
    assert shown.text(".count") == f"{(labels[rows] == 1).sum()} of {confusion[1].sum() - confusion[1, 1]} images"
    shown.choose("group", "All images in this page")
    assert shown.text(".count") == f"{(labels == 1).sum()} of {confusion[1].sum()} images"
    assert shown.text(".group-note") == "The others are not in this page."


def test_without_mistakes_it_begins_with_other_images(chromium: Chrome, tmp_path: Path) -> None:
    judged = evaluation(50)
    judged = dataclasses.replace(judged, logits=9 * np.eye(3, dtype=np.float32)[judged.labels])
    shown = Page(chromium, tmp_path, page.render(*report(judged, pictures(50, SIDE))))
    assert shown.one("select[name=group] option:checked").text == "Least certain correct"
    assert len(shown.rows()) == 50


def test_more_images_are_shown_on_request(shown: Page, made: tuple[Report, str]) -> None:
    shown.choose("group", "All images in this page")
    shown.one(".more").click()
    total = len(made[0].gallery.heatmaps)
    assert len(shown.rows()) == min(120, total)
    assert shown.run("return document.activeElement.dataset.row") == str(shown.rows()[60])


def test_pixels_and_heat_maps_are_those_of_the_run(shown: Page, made: tuple[Report, str]) -> None:
    heatmaps = made[0].gallery.heatmaps
    row = next(row for row in shown.rows() if not heatmaps.empty[row].any())
    tile = f'.tile[data-row="{row}"]'
    assert (shown.pixels(f"{tile} canvas")[..., :3] == heatmaps.images[row]).all()
    width = shown.run("return arguments[0].getBoundingClientRect().width", shown.one(f"{tile} canvas"))
    assert width % SIDE == 0
    shown.run("arguments[0].focus()", shown.one(tile))
    captions = [each.text for each in shown.all(".closeup figcaption")]
    predicted, label = (heatmaps.classes[place] for place in heatmaps.targets[row])
    assert captions == ["image", f"predicted: {predicted}", f"true: {label}"]
    for place in (0, 1):
        drawn = shown.pixels(f".closeup figure:nth-child({place + 2}) canvas")
        size, factor = len(drawn), len(drawn) // SIDE
        image = heatmaps.images[row].repeat(factor, 0).repeat(factor, 1)
        heat = Image.fromarray(heatmaps.scaled[row, place]).resize((size, size), Image.Resampling.BILINEAR)
        strength = np.asarray(heat)[..., None]
        colours = 255 * mpl.colormaps[page.COLORS](strength[..., 0])[..., :3]
        expected = image + 0.7 * strength * (colours - image)
        assert np.abs(drawn[..., :3] - expected).max() < 4


def test_the_keyboard_alone_is_enough(shown: Page, made: tuple[Report, str]) -> None:
    from selenium.webdriver.common.keys import Keys

    shown.run("arguments[0].focus()", shown.one(".matrix td[data-true]"))
    shown.press(Keys.ARROW_RIGHT)
    shown.press(Keys.ARROW_DOWN)
    shown.press(Keys.ARROW_LEFT)
    shown.press(Keys.ENTER)
    rows = shown.rows()
    assert len(rows) == made[0].metrics.confusion[1, 0]
    shown.run("arguments[0].focus()", shown.one(".more, .tile[tabindex='0']"))
    shown.run("arguments[0].focus()", shown.one(".tile[tabindex='0']"))
    first = shown.text(".closeup .title")
    shown.press(Keys.ARROW_RIGHT)
    assert shown.run("return document.activeElement.dataset.row") == str(rows[1])
    assert shown.text(".closeup .title") == f"index {made[0].gallery.heatmaps.index[rows[1]]}" != first  # type: ignore[index]
    assert len(shown.all(".tile[tabindex='0']")) == 1
    shown.press(Keys.ESCAPE)
    assert not shown.one(".closeup .shown").is_displayed()


def test_the_mouse_shows_what_it_points_at(shown: Page) -> None:
    from selenium.webdriver import ActionChains

    shown.run("arguments[0].scrollIntoView()", shown.one(".count"))
    tile = shown.all(".tile")[2]
    ActionChains(shown.chromium).move_to_element(tile).perform()
    assert shown.text(".closeup .title") == tile.get_attribute("title")
    shown.open((640, 900))  # there it would cover the images
    shown.run("arguments[0].scrollIntoView()", shown.one(".count"))
    ActionChains(shown.chromium).move_to_element(shown.all(".tile")[2]).perform()
    assert not shown.one(".closeup").is_displayed()


def test_classes_are_sorted_by_each_column(shown: Page) -> None:
    def column(number: int) -> list[float]:
        cells = shown.all(f".sortable tbody tr > :nth-child({number})")
        return [float(cell.get_attribute("data-value") or "nan") for cell in cells]

    assert column(2) == sorted(column(2))
    for number in (5, 3, 1):
        shown.one(f".sortable thead th:nth-child({number}) button").click()
        assert column(number) == sorted(column(number))
        shown.one(f".sortable thead th:nth-child({number}) button").click()
        assert column(number) == sorted(column(number), reverse=True)
        assert shown.one("th[aria-sort]").get_attribute("aria-sort") == "descending"
    shown.one(".sortable tbody th button").click()
    assert shown.one("select[name=true]").get_property("value") == "2"


def luminance(colour: str) -> float:
    """Relative luminance of rgb(r, g, b) (WCAG 2.1)."""
    values = np.array([float(each) for each in colour[colour.index("(") + 1 : -1].split(",")[:3]]) / 255
    linear = np.where(values <= 0.03928, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_legible(shown: Page, scheme: str) -> None:
    shown.open(scheme=scheme)
    style = "return getComputedStyle(arguments[0])[arguments[1]]"
    paper = luminance(shown.run(style, shown.one("body"), "backgroundColor"))
    assert (paper > 0.5) == (scheme == "light")
    for selector, name in (
        *(("body", "color"), (".tiles dt", "color"), (".small", "color"), ("nav a", "color")),
        *(("svg text", "fill"), (".matrix tbody th", "color")),
    ):
        ink = luminance(shown.run(style, shown.one(selector), name))
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, selector


def test_a_phone_shows_it_all_without_scrolling_sideways(shown: Page) -> None:
    shown.open(PHONE)
    assert shown.run("return document.documentElement.scrollWidth") == PHONE[0]
    shown.run("arguments[0].scrollIntoView({block: 'start'})", shown.one(".count"))
    shown.one(".tile").click()
    sheet = shown.run("return arguments[0].getBoundingClientRect().toJSON()", shown.one(".closeup"))
    assert (sheet["left"], sheet["width"], sheet["bottom"]) == (0, *PHONE)
    assert sheet["top"] > PHONE[1] / 4
    shown.one(".closeup .close").click()
    assert not shown.one(".closeup").is_displayed()


def test_what_has_the_focus_is_not_covered(shown: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    shown.open((640, 450))  # a small window at 200 %
    shown.run("arguments[0].focus()", shown.one(".tile"))
    for _ in range(3):
        bottom = shown.run("return document.activeElement.getBoundingClientRect().bottom")
        assert bottom <= shown.run("return arguments[0].getBoundingClientRect().top", shown.one(".closeup"))
        shown.press(Keys.ARROW_DOWN)


def test_long_names_do_not_widen_the_page(chromium: Chrome, tmp_path: Path) -> None:
    judged = evaluation(COUNT, ("a" * 200, "b " * 100, "c"))
    shown = Page(chromium, tmp_path, page.render(*report(judged, pictures(COUNT, SIDE))))
    for size in (WIDE, PHONE):
        shown.open(size)
        shown.one(".tile").click()
        assert shown.run("return document.documentElement.scrollWidth") == size[0]


def test_without_scripts_figures_and_tables_are_there(shown: Page) -> None:
    shown.open(script=False)
    assert "need JavaScript" in shown.text("noscript")
    assert not shown.one(".filters").is_displayed()
    for selector in ("svg.figure", ".sortable", ".matrix", ".facts"):
        assert shown.one(selector).is_displayed()
    assert shown.text(".matrix tbody td")
    shown.open()


def test_it_prints_to_pages_of_a4(shown: Page) -> None:
    printed = shown.chromium.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    pdf = base64.b64decode(printed["data"])
    assert b"/MediaBox [0 0 594.95996 841.91998]" in pdf
    assert 2 <= pdf.count(b"/Type /Page\n") <= 12
    shown.choose("group", "All images in this page")
    shown.chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    after = "return getComputedStyle(arguments[0], '::after').content"
    assert "of which the first" in shown.run(after, shown.one(".count"))
    assert "60" in shown.run(after, shown.one(".count"))
    assert not shown.one(".matrix").find_element("xpath", "preceding::span[@class='scripted']").is_displayed()


def test_what_flips_is_one_click_away(chromium: Chrome, tmp_path: Path) -> None:
    judged = evaluation(COUNT)
    comparison = compared(judged)
    shown = Page(chromium, tmp_path, page.render(*report(judged, pictures(COUNT, SIDE), comparison=comparison)))
    shown.one("button[data-group=gained]").click()
    assert shown.text(".count") == f"{len(comparison.gained)} images"
    assert shown.text(".group-note") == "A is base."
    first = comparison.gained
    assert shown.all(".tile span")[2].text == f"A: {CLASSES[first.a_predicted[0]]} {first.a_probability[0]:.1%}"
    assert chromium.get_log("browser") == []


def test_hostile_names_stay_text(chromium: Chrome, tmp_path: Path) -> None:
    judged = evaluation(COUNT, HOSTILE)
    made = report(judged, pictures(COUNT, SIDE), comparison=compared(judged))
    shown = Page(chromium, tmp_path, page.render(*made))
    shown.choose("group", "All images in this page")
    shown.run("arguments[0].focus()", shown.one(".tile"))
    assert shown.run("return window.pwned === undefined")
    assert {each.text for each in shown.all(".sortable tbody th")} == set(HOSTILE)
    assert shown.one(".closeup .likeliest").text.count("{{ 7*7 }}") == 1
    assert chromium.get_log("browser") == []
