from __future__ import annotations

import itertools
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from era_cli.errors import EraError
from era_cli.reports import style
from era_cli.reports.confusion import confusion_matrix
from era_cli.reports.image_grid import image_grid

PNG = b"\x89PNG\r\n\x1a\n"


class _Broken(Artist):
    """Lets the drawing fail when it has begun."""

    def draw(self, renderer: Any) -> None:
        raise RuntimeError("no more ink")


def small_figure() -> Figure:
    figure = Figure(figsize=(1, 1))
    figure.text(0.5, 0.5, "ink")
    return figure


def test_save_writes_a_png_of_the_figures_size(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figure.png"
    style.save(small_figure(), path)
    style.save(small_figure(), path)  # over the first
    assert path.read_bytes().startswith(PNG)
    with Image.open(path) as image:
        image.load()
        assert min(image.size) >= style.DPI
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.png", PNG),
        ("a.svg", b"<?xml"),
        ("a.pdf", b"%PDF"),
        ("a.b.PDF", b"%PDF"),
    ],
)
def test_the_suffix_decides_the_format(name: str, start: bytes, tmp_path: Path) -> None:
    style.save(small_figure(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_save_draws_a_figure_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = confusion_matrix(np.eye(3, dtype=np.int64), ("a", "b", "c"), "three")
    drawn: list[object] = []
    draw = figure.draw

    def counted(renderer: Any) -> None:
        drawn.append(renderer)
        draw(renderer)

    monkeypatch.setattr(figure, "draw", counted)
    with mpl.rc_context({"figure.constrained_layout.use": True}):  # a person's own setting
        style.save(figure, tmp_path / "figure.png")
    assert len(drawn) == 1


@pytest.mark.parametrize("place", ["file/figure.png", "file/new/figure.png", "folder.png"])
def test_an_unwritable_place_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(EraError, match="cannot be written") as caught:
        style.save(small_figure(), tmp_path / place)
    assert str((tmp_path / place).parent) in str(caught.value)
    assert {path.name for path in tmp_path.rglob("*")} == {"file", "folder.png"}


# Machado, Oliveira and Fernandes 2009, severity 1: how a linear colour looks to a deuteranope.
_DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
# Linear sRGB to XYZ, as shares of the white D65.
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: str, *, deuteranopia: bool) -> Any:
    """CIE L*a*b*, in which a distance of 10 is plain to see."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    if deuteranopia:
        linear = np.clip(_DEUTERANOPIA @ linear, 0, 1)
    x, y, z = np.cbrt(_XYZ @ linear / _XYZ.sum(axis=1))  # no colour here is so dark as to need the other branch
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("deuteranopia", [False, True])
def test_the_colours_of_the_palette_are_told_apart(deuteranopia: bool) -> None:
    for one, other in itertools.combinations(style.PALETTE, 2):
        apart = lab(one, deuteranopia=deuteranopia) - lab(other, deuteranopia=deuteranopia)
        assert np.linalg.norm(apart) > 10, (one, other)


@pytest.mark.parametrize("before", [None, b"the old picture"])
def test_a_drawing_that_fails_leaves_what_was_there(before: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    if before is not None:
        path.write_bytes(before)
    figure = small_figure()
    figure.add_artist(_Broken())
    with pytest.raises(RuntimeError, match="no more ink"):
        style.save(figure, path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == (
        {} if before is None else {path.name: before}
    )


def test_matplotlibs_settings_stay(tmp_path: Path) -> None:
    broken = small_figure()
    broken.add_artist(_Broken())
    with mpl.rc_context({"text.color": "red", "text.parse_math": True, "font.size": 30.0}):
        before = dict(mpl.rcParams)
        style.save(image_grid(np.zeros((2, 8, 8, 3), np.uint8), ["a", "b"], "two"), tmp_path / "figure.png")
        assert dict(mpl.rcParams) == before
        with pytest.raises(RuntimeError):
            style.save(broken, tmp_path / "figure.png")
        assert dict(mpl.rcParams) == before


def test_personal_settings_do_not_change_the_look() -> None:
    with mpl.rc_context({"text.color": "red", "figure.facecolor": "black", "font.size": 30.0}), style.look():
        assert mpl.rcParams["text.color"] == style.INK
        assert mpl.rcParams["figure.facecolor"] == "white"
        assert mpl.rcParams["font.size"] == 10.0


def test_drawing_and_saving_import_no_pyplot_and_no_torch(tmp_path: Path) -> None:
    work = """
import sys
from pathlib import Path
import numpy as np
from era_cli.reports import image_grid, style
style.save(image_grid.image_grid(np.zeros((2, 8, 8, 3), np.uint8), ["a", "b"], "two"), Path("figure.png"))
print({"matplotlib.pyplot", "torch"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", work], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("set()", "")
    assert (tmp_path / "figure.png").read_bytes().startswith(PNG)


def test_a_label_is_short_and_has_no_controls() -> None:
    most = style.LONGEST_TITLE
    for name in ("automobile", "$x$", "собака", "猫", "x" * most):
        assert style.label(name) == name
    assert style.label("x" * (most + 1)) == "x" * (most - 1) + "…"
    assert style.label("\x1b[31mred") == "\ufffd[31mred"


@pytest.mark.parametrize("name", ["猫", "🐈"])
def test_a_missing_glyph_causes_no_warning(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure = image_grid(np.zeros((1, 8, 8, 3), np.uint8), [name], "one")
        style.save(figure, tmp_path / "figure.png")
    assert [str(warning.message) for warning in caught] == []


@settings(max_examples=15, deadline=None)
@given(names=st.lists(st.text(st.characters(codec=None), max_size=60), min_size=2, max_size=2))
@example(names=["$\\frac{$", "$x"])
@example(names=["\x1b[31mred\x00", "a\nb\tc"])
@example(names=["\\", "^_{}%#&~"])
@example(names=["\ud800", ""])
def test_no_class_name_stops_a_figure(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.png"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")  # another test's matter
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        style.save(image_grid(np.zeros((2, 8, 8, 3), np.uint8), names, names[0]), path)
    assert path.read_bytes().startswith(PNG)


def test_what_is_measured_is_what_is_saved() -> None:
    with style.look():
        assert Figure().dpi == style.DPI
