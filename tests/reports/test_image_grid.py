from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from era_cli.reports import sheet, style
from era_cli.reports.image_grid import image_grid
from tests.reports.support import box, header, only_axes, over, overlap, pictures, shown, titles


def test_each_image_lies_unchanged_under_its_title() -> None:
    images = pictures(5)
    figure = image_grid(images, [[name] for name in "abcde"], "five", columns=3)
    assert header(figure) == "five"
    assert titles(figure) == ["a", "b", "c", "d", "e"]
    assert not only_axes(figure).axison
    for one, image in zip(shown(figure), images, strict=True):
        data = one.get_array()
        assert data is not None
        np.testing.assert_array_equal(data, image)
        assert one.get_interpolation() == "nearest"


def test_images_fill_row_after_row() -> None:
    figure = image_grid(pictures(5), [[name] for name in "abcde"], "five", columns=3)
    figure.draw_without_rendering()
    boxes = [image.get_window_extent() for image in shown(figure)]
    lefts = [round(box.x0, 3) for box in boxes]
    bottoms = [round(box.y0, 3) for box in boxes]
    assert lefts[0] < lefts[1] < lefts[2]
    assert lefts[3:] == lefts[:2]
    assert len(set(bottoms[:3])) == len(set(bottoms[3:])) == 1
    assert bottoms[0] > bottoms[3]


@pytest.mark.parametrize("notes", [False, True])
@pytest.mark.parametrize("count", [1, 9, 40])
def test_images_are_square_and_apart(count: int, notes: bool) -> None:
    figure = image_grid(
        pictures(count), [["automobile", "cat"]] * count, "some", notes=[["12.3%"]] * count if notes else None
    )
    figure.draw_without_rendering()
    boxes = [box(figure, image) for image in shown(figure)]
    assert len(boxes) == count
    for image, own in zip(shown(figure), boxes, strict=True):
        assert len(over(figure, image)) == 1 + notes
        assert image.get_window_extent().width == pytest.approx(image.get_window_extent().height)
        assert figure.bbox.x0 <= own.x0
        assert own.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= own.y0
        assert own.y1 <= figure.bbox.y1
    assert not any(overlap(one, other) for place, one in enumerate(boxes) for other in boxes[:place])


def test_texts_lie_above_their_image() -> None:
    figure = image_grid(pictures(3), [["Ågj", "Çpq"]] * 3, "some", notes=[["100.0%"], ["gjpq"], ["Å"]])
    figure.draw_without_rendering()
    for image in shown(figure):
        note, title = over(figure, image)
        assert image.get_window_extent().y1 <= note.get_window_extent().y0
        assert note.get_window_extent().y1 <= title.get_window_extent().y0


def test_header_and_notes_lie_above_the_images() -> None:
    figure = image_grid(pictures(8), [["automobile"]] * 8, "what these are", header_notes=["one", "two"])
    figure.draw_without_rendering()
    lines = [text.get_window_extent() for text in figure.texts]
    assert [text.get_text() for text in figure.texts] == ["what these are", "one", "two"]
    assert lines[0].y1 <= figure.bbox.y1
    assert lines[0].y0 >= lines[1].y1 > lines[1].y0 >= lines[2].y1
    assert not any(overlap(line, box(figure, image)) for line in lines for image in shown(figure))
    assert lines[2].y0 > max(box(figure, image).y1 for image in shown(figure))


@pytest.mark.parametrize("name", ["golden retriever 1", "W" * 60])
@pytest.mark.parametrize("names", [1, 2])
def test_titles_of_neighbours_do_not_overlap(name: str, names: int) -> None:
    figure = image_grid(pictures(2), [[name] * names] * 2, "two", columns=2)
    figure.draw_without_rendering()
    left, right = (over(figure, image)[0].get_window_extent() for image in shown(figure))
    assert left.x1 < right.x0


def test_a_single_images_header_is_not_cut(tmp_path: Path) -> None:
    for note in ((), ("a note that is longer " * 5,)):
        figure = image_grid(pictures(1), [["cat"]], "Training images as the network sees them", header_notes=note)
        figure.set_dpi(style.DPI)
        figure.draw_without_rendering()
        right = max(text.get_window_extent().x1 for text in figure.texts)
        style.save(figure, tmp_path / "samples.png")
        with Image.open(tmp_path / "samples.png") as written:
            assert written.width >= right
            ink = np.asarray(written.convert("L"))
        assert (ink[:, -2:] == 255).all()
        assert (ink[:2] == 255).all()


def test_two_names_too_long_for_a_line_have_one_each() -> None:
    names = ("West Highland white terrier", "red-breasted merganser")
    figure = image_grid(pictures(2), [names, ("cat", "dog")], "two", notes=[["99.9%", "a/long/" * 9 + "7.png"]] * 2)
    figure.draw_without_rendering()
    assert titles(figure) == ["West Highland white terrier /\nred-breasted merganser", "cat /\ndog"]
    for image in shown(figure):
        (file, note, title), left = over(figure, image), image.get_window_extent().x0
        assert file.get_window_extent().y1 <= note.get_window_extent().y0
        assert note.get_window_extent().y1 <= title.get_window_extent().y0
        assert file.get_text().startswith("a/")
        assert file.get_text().endswith("a/long/7.png")
        assert file.get_window_extent().x0 >= left - sheet.GAP / 2


@pytest.mark.parametrize(("names", "cut"), [(("W" * 60, "cat"), 0), (("cat", "W" * 60), 1)])
def test_the_longer_of_two_names_is_cut(names: tuple[str, str], cut: int) -> None:
    (title,) = titles(image_grid(pictures(1), [names], "one"))
    parts = title.split(sheet.STACKED)
    assert parts[1 - cut] == "cat"
    assert parts[cut].startswith("WWW")
    assert parts[cut].endswith("W…")


def test_two_long_names_are_cut_alike() -> None:
    (title,) = titles(image_grid(pictures(1), [("W" * 60, "W" * 80)], "one"))
    one, other = title.split(sheet.STACKED)
    assert one.startswith("WW")
    assert other.startswith("WW")
    assert abs(len(one) - len(other)) <= 1


def test_all_titles_have_one_size() -> None:
    figure = image_grid(pictures(3), [["a"], ["golden retriever and sons 12"], ["b"]], "three")
    (size,) = {float(over(figure, image)[0].get_fontsize()) for image in shown(figure)}
    assert sheet.SMALLEST_NAME <= size < sheet.NAME_SIZE
    (short,) = only_axes(image_grid(pictures(1), [["a"]], "one")).texts
    assert short.get_fontsize() == sheet.NAME_SIZE


@pytest.mark.parametrize("name", ["$\\frac{$", "$x$"])
def test_a_dollar_is_a_dollar(name: str) -> None:
    figure = image_grid(pictures(1), [[name]], name, header_notes=[name], notes=[[name]])
    (image,) = shown(figure)
    texts = [*over(figure, image), *figure.texts]
    assert len(texts) == 4
    for text in texts:
        assert text.get_text() == name
        assert not text.get_parse_math()


def test_control_characters_do_not_reach_a_text() -> None:
    name = "a\x1b\n\0b"
    figure = image_grid(pictures(1), [[name]], name, header_notes=[name], notes=[[name]])
    (image,) = shown(figure)
    assert [text.get_text() for text in [*over(figure, image), *figure.texts]] == ["a\ufffd\ufffd\ufffdb"] * 4
