from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from era_cli.core.evaluation import mistakes
from era_cli.reports import image_grid, sheet, style
from era_cli.results import Evaluation, Images, Mistakes, Samples


def pictures(count: int, side: int = 8) -> Images:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)


def header(figure: Figure) -> str:
    return str(figure.get_suptitle()).replace("\n", " ")  # it breaks where the figure is narrow


def page(figure: Figure) -> Axes:
    """The axes that all images share."""
    (axes,) = figure.axes
    return axes


def shown(figure: Figure) -> list[AxesImage]:
    return list(page(figure).get_images())


def over(figure: Figure, image: AxesImage) -> list[Text]:
    """The texts above an image, the nearest first."""
    left, right, _, top = image.get_extent()
    texts = [text for text in page(figure).texts if text.get_position()[0] == (left + right) / 2]
    above = [text for text in texts if top - sheet.TITLE - sheet.NOTE < height(text) < top]
    return sorted(above, key=height, reverse=True)


def height(text: Text) -> float:
    return float(text.get_position()[1])


def titles(figure: Figure) -> list[str]:
    return [over(figure, image)[-1].get_text() for image in shown(figure)]


def box(figure: Figure, image: AxesImage) -> Bbox:
    """Image and texts together, in pixels."""
    return Bbox.union([image.get_window_extent(), *(text.get_window_extent() for text in over(figure, image))])


def overlap(one: Bbox, other: Bbox) -> bool:
    shared = Bbox.intersection(one, other)
    return shared is not None and shared.width > 0.01 and shared.height > 0.01


def test_each_image_is_shown_as_it_is_under_its_title() -> None:
    images = pictures(5)
    figure = image_grid.image_grid(images, [[name] for name in "abcde"], "five", columns=3)
    assert header(figure) == "five"
    assert titles(figure) == ["a", "b", "c", "d", "e"]
    assert not page(figure).axison
    for one, image in zip(shown(figure), images, strict=True):
        data = one.get_array()
        assert data is not None
        np.testing.assert_array_equal(data, image)
        assert one.get_interpolation() == "nearest"


def test_images_fill_rows_from_left_to_right_and_top_to_bottom() -> None:
    figure = image_grid.image_grid(pictures(5), [[name] for name in "abcde"], "five", columns=3)
    figure.draw_without_rendering()
    boxes = [image.get_window_extent() for image in shown(figure)]
    lefts = [round(box.x0, 3) for box in boxes]
    bottoms = [round(box.y0, 3) for box in boxes]
    assert lefts[0] < lefts[1] < lefts[2]
    assert lefts[3:] == lefts[:2]
    assert len(set(bottoms[:3])) == len(set(bottoms[3:])) == 1
    assert bottoms[0] > bottoms[3]


def test_fewer_images_than_columns_make_a_narrow_figure() -> None:
    narrow = image_grid.image_grid(pictures(2), [["a"], ["b"]], "two", columns=8)
    wide = image_grid.image_grid(pictures(8), [[name] for name in "abcdefgh"], "eight", columns=8)
    assert len(shown(narrow)) == 2
    assert narrow.get_figwidth() < wide.get_figwidth()
    assert narrow.get_figheight() == wide.get_figheight()


@pytest.mark.parametrize("notes", [False, True])
@pytest.mark.parametrize("count", [1, 2, 8, 9, 40])
def test_images_are_square_inside_the_figure_and_apart(count: int, notes: bool) -> None:
    figure = image_grid.image_grid(
        pictures(count), [["automobile", "cat"]] * count, "some", notes=["12.3%"] * count if notes else None
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


def test_the_texts_of_an_image_lie_above_it_and_do_not_touch() -> None:
    figure = image_grid.image_grid(pictures(3), [["Ågj", "Çpq"]] * 3, "some", notes=["100.0%", "gjpq", "Å"])
    figure.draw_without_rendering()
    for image in shown(figure):
        note, title = over(figure, image)
        assert image.get_window_extent().y1 <= note.get_window_extent().y0
        assert note.get_window_extent().y1 <= title.get_window_extent().y0


def test_the_header_and_its_notes_lie_above_the_images_and_below_each_other() -> None:
    figure = image_grid.image_grid(pictures(8), [["automobile"]] * 8, "what these are", header_notes=["one", "two"])
    figure.draw_without_rendering()
    lines = [text.get_window_extent() for text in figure.texts]
    assert [text.get_text() for text in figure.texts] == ["what these are", "one", "two"]
    assert lines[0].y1 <= figure.bbox.y1
    assert lines[0].y0 >= lines[1].y1 > lines[1].y0 >= lines[2].y1
    assert not any(overlap(line, box(figure, image)) for line in lines for image in shown(figure))
    assert lines[2].y0 > max(box(figure, image).y1 for image in shown(figure))


@pytest.mark.parametrize("name", ["golden retriever 1", "SCHOOL BUS, YELLOW", "W" * 60])
@pytest.mark.parametrize("names", [1, 2])
def test_the_titles_of_neighbours_do_not_overlap(name: str, names: int) -> None:
    figure = image_grid.image_grid(pictures(2), [[name] * names] * 2, "two", columns=2)
    figure.draw_without_rendering()
    left, right = (over(figure, image)[0].get_window_extent() for image in shown(figure))
    assert left.x1 < right.x0


def test_the_header_of_a_single_image_is_not_cut_off(tmp_path: Path) -> None:
    samples = Samples(images=pictures(1), labels=np.zeros(1, np.int64), classes=("cat",))
    plain = image_grid.training_samples(samples)
    noted = image_grid.image_grid(pictures(1), [["cat"]], "one", header_notes=["a note that is longer " * 5])
    for figure in (plain, noted):
        figure.set_dpi(style.DPI)
        figure.draw_without_rendering()
        right = max(text.get_window_extent().x1 for text in figure.texts)
        style.save(figure, tmp_path / "samples.png")
        with Image.open(tmp_path / "samples.png") as written:
            assert written.width >= right
            ink = np.asarray(written.convert("L"))
        assert (ink[:, -2:] == 255).all()
        assert (ink[:2] == 255).all()


def test_long_titles_are_shortened() -> None:
    (title,) = titles(image_grid.image_grid(pictures(1), [["x" * 60]], "one"))
    assert title.endswith("x…")
    assert 5 < len(title) < 60


@pytest.mark.parametrize(("names", "cut"), [(("W" * 60, "cat"), 0), (("cat", "W" * 60), 1)])
def test_of_two_names_the_longer_is_cut_first_and_both_stay_visible(names: tuple[str, str], cut: int) -> None:
    (title,) = titles(image_grid.image_grid(pictures(1), [names], "one"))
    parts = title.split(" / ")
    assert parts[1 - cut] == "cat"
    assert parts[cut].startswith("WWW")
    assert parts[cut].endswith("W…")


def test_of_two_long_names_as_much_is_cut() -> None:
    (title,) = titles(image_grid.image_grid(pictures(1), [("W" * 60, "W" * 80)], "one"))
    one, other = title.split(" / ")
    assert one.startswith("WW")
    assert other.startswith("WW")
    assert abs(len(one) - len(other)) <= 1


def test_all_titles_are_of_one_size_whichever_of_them_is_long() -> None:
    figure = image_grid.image_grid(pictures(3), [["a"], ["golden retriever and sons 12"], ["b"]], "three")
    (size,) = {float(over(figure, image)[0].get_fontsize()) for image in shown(figure)}
    assert sheet.SMALLEST_NAME <= size < sheet.NAME_SIZE
    (short,) = page(image_grid.image_grid(pictures(1), [["a"]], "one")).texts
    assert short.get_fontsize() == sheet.NAME_SIZE


@pytest.mark.parametrize("name", ["$\\frac{$", "$x$"])
def test_a_dollar_is_a_dollar(name: str) -> None:
    figure = image_grid.image_grid(pictures(1), [[name]], name, header_notes=[name], notes=[name])
    (image,) = shown(figure)
    texts = [*over(figure, image), *figure.texts]
    assert len(texts) == 4
    for text in texts:
        assert text.get_text() == name
        assert not text.get_parse_math()


def test_control_characters_do_not_reach_a_text() -> None:
    name = "a\x1b\n\0b"
    figure = image_grid.image_grid(pictures(1), [[name]], name, header_notes=[name], notes=[name])
    (image,) = shown(figure)
    assert [text.get_text() for text in [*over(figure, image), *figure.texts]] == ["a\ufffd\ufffd\ufffdb"] * 4


def test_as_many_titles_as_images_or_none_is_drawn() -> None:
    with pytest.raises(ValueError, match="zip"):
        image_grid.image_grid(pictures(3), [["a"], ["b"]], "three")


def test_training_samples_are_titled_by_their_classes() -> None:
    samples = Samples(
        images=pictures(3),
        labels=np.array([2, 0, 2]),
        classes=("cat", "dog", "frog"),
        augmentation="random crop, random flip",
    )
    figure = image_grid.training_samples(samples)
    assert titles(figure) == ["frog", "cat", "frog"]
    assert header(figure) == "Training images as the network sees them: random crop, random flip"


# Mistakes


def found(count: int, *, right: int = 0, suspects: bool = False, classes: tuple[str, ...] = ("cat", "dog")) -> Mistakes:
    """Where `count` images of the first class are taken for the second, each a little less confidently."""
    logits = np.zeros((count + right, len(classes)), np.float32)
    logits[:count, 1] = 2 - np.arange(count) / 1_000
    logits[count:, 0] = 1
    total = len(logits)
    judged = Evaluation(index=np.arange(total), labels=np.zeros(total, np.int64), logits=logits, classes=classes)
    made = mistakes.wrong(judged)
    return mistakes.ordered(dataclasses.replace(made, suspects=suspects), "confidence")


def lines(figure: Figure) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in figure.texts]


def test_mistakes_are_titled_predicted_and_actual_with_the_confidence_below() -> None:
    some, images = found(4, right=36), pictures(3)
    figure = image_grid.mistakes(images, some, "mine, test images")
    assert titles(figure) == ["dog / cat"] * 3
    wanted = [f"{1 / (1 + np.exp(place / 1_000 - 2)):.1%}" for place in range(3)]
    assert [over(figure, image)[0].get_text() for image in shown(figure)] == wanted
    for one, image in zip(shown(figure), images, strict=True):
        np.testing.assert_array_equal(np.asarray(one.get_array()), image)
    assert header(figure) == "mine, test images: 4 of 40 (10.00%) are wrong"
    (note,) = lines(figure)[1:]
    assert note.startswith("predicted / actual, confidence below")
    assert "3 of 4 shown" in note
    assert "shown" not in lines(image_grid.mistakes(pictures(4), some, "mine"))[1]


def test_suspects_are_titled_suggested_and_label() -> None:
    figure = image_grid.mistakes(pictures(2), found(2, right=2, suspects=True), "mine")
    assert header(figure).startswith("mine: 2 of 4 (50.00%) labels ")
    assert lines(figure)[1].startswith("suggested / label, confidence below")
    assert titles(figure) == ["dog / cat"] * 2


def test_the_order_is_named_and_no_two_alike() -> None:
    notes = {
        order: lines(image_grid.mistakes(pictures(2), mistakes.ordered(found(2), order), "mine"))[1]
        for order in mistakes.ORDERS
    }
    assert len(set(notes.values())) == len(mistakes.ORDERS)
    for order in mistakes.ORDERS:
        assert {"confidence": "confident", "margin": "lead"}.get(order, order) in notes[order].partition(";")[2]


def test_the_classes_that_were_asked_for_are_named() -> None:
    some = mistakes.of_classes(found(3, right=1), "cat", "dog")
    assert header(image_grid.mistakes(pictures(1), some, "mine")).endswith(
        "3 of 4 (75.00%) are wrong; 3 of cat taken for dog"
    )
    none = mistakes.of_classes(some, "dog", None)
    assert header(image_grid.mistakes(pictures(0), none, "mine")).endswith("; 0 of dog")


@pytest.mark.parametrize("columns", [None, 3])
def test_no_mistakes_at_all_are_a_header_alone(tmp_path: Path, columns: int | None) -> None:
    figure = image_grid.mistakes(pictures(0), found(0, right=5), "mine", columns)
    assert lines(figure) == ["mine: 0 of 5 (0.00%) are wrong"]
    assert shown(figure) == []
    style.save(figure, tmp_path / "none.png")
    with Image.open(tmp_path / "none.png") as written:
        assert (np.asarray(written.convert("L")) < 128).any()


def test_of_too_many_images_the_first_are_drawn_and_the_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "MOST", 5)
    images = pictures(9)
    figure = image_grid.mistakes(images, found(1_200), "mine")
    assert len(shown(figure)) == 5
    np.testing.assert_array_equal(np.asarray(shown(figure)[4].get_array()), images[4])
    assert "5 of 1,200 shown" in lines(figure)[1]


def test_hostile_class_names_are_written(tmp_path: Path) -> None:
    figure = image_grid.mistakes(pictures(2), found(2, classes=("$\\frac{$", "\x1b[31m猫" * 20)), "\x1b[2J$x$")
    for suffix in ("png", "svg"):
        style.save(figure, tmp_path / f"x.{suffix}")
    assert header(figure).startswith("\ufffd[2J$x$: 2 of 2")
    assert all(title.endswith(" / $\\frac{$") for title in titles(figure))
