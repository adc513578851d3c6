"""The page as HTML, without a browser; what happens in one is in test_browser."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from era_cli.commands.report import ROOM
from era_cli.core.data import cifar10
from era_cli.listener import Listener
from era_cli.page import page
from tests.page.support import HOSTILE, compared, evaluation, report, written
from tests.reports.support import pictures, stopped, unvalidated

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Parsed(HTMLParser):
    """The elements of a page with their attributes, and the text of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._open[-1] if self._open else "", []).append(data)

    def every(self, name: str) -> list[str]:
        return [values[name] or "" for _, values in self.elements if name in values]


@pytest.fixture(scope="module")
def text() -> str:
    return written()


def test_nothing_is_loaded_from_elsewhere(text: str) -> None:
    parsed = Parsed(text)
    addresses = [each for name in ("src", "href", "xlink:href", "action", "data") for each in parsed.every(name)]
    assert addresses
    assert [each for each in addresses if not each.startswith(("#", "data:"))] == []
    assert not re.search(r"url\((?!#)|@import", text)
    assert {tag for tag, _ in parsed.elements} & {"link", "iframe", "object", "base"} == set()


def test_only_its_own_script_may_run_and_every_id_is_there_once(text: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [each for each in Parsed(text).every("content") if "default-src" in each]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    ids = Parsed(text).every("id")
    assert len(ids) == len(set(ids))
    for reference in re.findall(r'xlink:href="#([^"]+)"|url\(#([^)]+)\)|href="#([^"]+)"', text):
        assert "".join(reference) in ids


def test_names_from_outside_stay_text() -> None:
    hostile = (*HOSTILE, "a\x1b[31m\x00b", "\u202egnp.exe")
    text = written(classes=hostile)
    parsed = Parsed(text)
    assert sum(tag == "script" for tag, _ in parsed.elements) == 2
    assert {tag for tag, values in parsed.elements if "onerror" in values} == set()
    assert {*HOSTILE, "a\ufffd[31m\ufffdb", "\ufffdgnp.exe"} <= set(parsed.texts["th"])
    assert not set("\x1b\x00\u202e") & set(text)
    made, images = report(evaluation(300), pictures(300))
    groups = (dataclasses.replace(made.gallery.groups[0], title="Right in \u202ebase"),)  # a run's name
    made = dataclasses.replace(made, gallery=dataclasses.replace(made.gallery, groups=groups))
    assert "\\u202e" not in page.render(made, images)


def test_the_data_are_those_of_the_images() -> None:
    made, images = report(evaluation(300), pictures(300))
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.render(made, images))
    data, heatmaps = json.loads(text), made.gallery.heatmaps
    assert heatmaps.labels is not None
    assert data["labels"] == heatmaps.labels.tolist()
    maps = np.frombuffer(base64.b64decode(data["maps"]), np.uint8).reshape(heatmaps.maps.shape)
    assert np.abs(maps / 255 - heatmaps.scaled).max() <= 0.5 / 255 + 1e-6
    wrong = data["groups"][0]
    assert wrong["total"] == len(wrong["rows"]) == made.metrics.count - made.metrics.correct
    assert all(data["labels"][row] != data["predicted"][row] for row in wrong["rows"])
    confidences = [data["probabilities"][row][0] for row in wrong["rows"]]
    assert confidences == sorted(confidences, reverse=True)


def test_what_there_is_not_is_left_out(text: str) -> None:
    assert ("<h2>Curves" in text, 'class="solid"' in text, "Training samples" in text) == (True, True, False)
    assert "<h2>Curves" not in written(curves=stopped(0, 3))
    assert 'class="solid"' not in written(curves=unvalidated(3))
    assert "data:image/png;base64,iVBORw" in written(samples=b"\x89PNG\r\n\x1a\n")


def test_a_comparison_has_a_section_of_its_own(text: str) -> None:
    judged = evaluation(300)
    comparison = compared(judged)
    made, images = report(judged, pictures(300), comparison=comparison)
    against = page.render(made, images)
    assert "Compared with base" in against
    assert f"{comparison.claim[1:]}." in html.unescape(against)
    assert f"{100 * comparison.difference.value:+.2f} points" in against
    assert against.count('data-group="') == 2
    assert "Compared with" not in text


def test_of_many_classes_the_most_confused_are_shown() -> None:
    classes = tuple(f"class {number}" for number in range(200))
    text = written(1000, classes)
    assert text.count('scope="col" title="class ') == page.MOST_CLASSES
    assert "160 others left out" in text
    assert len(text) < 1_500_000


def test_two_renderings_are_equal(text: str) -> None:
    assert written() == text


@pytest.mark.cifar10
def test_ten_thousand_images_take_at_most_six_megabytes(cifar10_dir: Path) -> None:
    dataset = cifar10.load(32, cifar10_dir, Listener())
    images = dataset.images[dataset.test].transpose(0, 2, 3, 1)
    for accuracy in (0.2, 0.93):
        samples = b"\x89PNG" + bytes(250_000)  # of 24 images it takes 205 kB
        answers = evaluation(len(images), dataset.classes, accuracy)
        made, encoded = report(answers, images, room=ROOM, samples=samples)
        assert len(page.render(made, encoded).encode()) <= 6_000_000
        assert encoded.count >= 900
