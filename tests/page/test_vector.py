from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from era_cli.page import vector
from era_cli.reports import curves, style
from tests.reports.support import run


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    panels = curves.panels(run(5, test_acc=0.9, test_count=10, test_total=10))
    return {name: str(vector.svg(figure, name, f'the "{name}" & <more>')) for name, figure in panels.items()}


def test_it_is_drawn_in_the_colours_of_the_page(drawn: dict[str, str]) -> None:
    for text in drawn.values():
        assert re.findall(r"(?:fill|stroke): #[0-9a-f]{6}", text, re.IGNORECASE) == []
        assert "var(--ink)" in text
    assert "var(--orange)" in drawn["loss"]


def test_text_is_text_and_named_for_a_screen_reader(drawn: dict[str, str]) -> None:
    root = ET.fromstring(drawn["accuracy"].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    assert root.get("aria-label") == 'the "accuracy" & <more>'
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"Accuracy", "epoch"} <= set(texts)
    assert "font-family" not in drawn["accuracy"]


def test_figures_of_one_page_share_no_id_and_style_nothing_else(drawn: dict[str, str]) -> None:
    ids = [each for text in drawn.values() for each in re.findall(r' id="([^"]+)"', text)]
    assert len(ids) == len(set(ids)) > 0
    assert not any("<style" in text or "<metadata" in text for text in drawn.values())


def test_a_figure_keeps_the_shape_it_was_drawn_in(drawn: dict[str, str]) -> None:
    width, height = (72 * inches for inches in curves.PANEL)
    assert f'viewBox="0 0 {width:g} {height:g}"' in drawn["rate"]
    assert style.INK not in drawn["rate"]
