from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from era_cli.core.data import folder, image_file
from era_cli.core.data.dataset import Dataset
from era_cli.errors import EraError
from era_cli.listener import Listener

SIZE = 8
Color = tuple[int, int, int]


def write_image(path: Path, color: Color | int = 100, mode: str = "RGB", size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(color, int) and mode == "RGB":
        color = (color, color, color)
    Image.new(mode, size, color).save(path)
    return path


def fill(root: Path, counts: dict[str, int], suffix: str = ".png") -> Path:
    """Class folders with so many images each, every image of another grey."""
    grey = 0
    for name, count in counts.items():
        for index in range(count):
            write_image(root / name / f"{index:02}{suffix}", grey)
            grey += 1
    return root


def two_levels(root: Path) -> Path:
    fill(root / "train", {"cat": 4, "dog": 3})
    fill(root / "test", {"cat": 1, "dog": 2})
    return root


class Ear(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.works: list[tuple[str, int | None]] = []
        self.advanced = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def work(self, what: str, total: int | None, unit: str = "images") -> Iterator[Callable[[int], None]]:
        self.works.append((what, total))

        def advance(done: int) -> None:
            self.advanced += done

        yield advance


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    def loaded(
        root: Path,
        *,
        size: int = SIZE,
        strict: bool = False,
        listener: Listener | None = None,
        cache: Path | None = None,
    ) -> Dataset:
        return folder.load(root, size, strict, listener or Listener(), cache_dir=cache or tmp_path / "cache")

    return loaded


Load = Callable[..., Dataset]


def refusal(load: Load, root: Path, **options: Any) -> str:
    with pytest.raises(EraError) as caught:
        load(root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on no image may be decoded."""

    def forbid() -> None:
        def decode(path: Path, size: int) -> NoReturn:
            raise AssertionError(f"{path} was decoded")

        monkeypatch.setattr(folder, "_decode", decode)

    return forbid


def only_image(load: Load, root: Path, path: str, **options: Any) -> np.ndarray:
    """The pixels (3, H, W) of the one file, as loaded among others."""
    dataset = load(root, **options)
    assert dataset.files is not None
    return dataset.images[dataset.files.index(path)]


# What is found


def test_one_level_holds_out_a_fifth_of_each_class(images: Path, load: Load) -> None:
    dataset = load(fill(images, {"cat": 20, "dog": 10, "emu": 5}))
    assert dataset.classes == ("cat", "dog", "emu")
    assert np.bincount(dataset.labels[dataset.test]).tolist() == [4, 2, 1]
    assert sorted([*dataset.train, *dataset.test]) == list(range(35))
    assert (dataset.name, dataset.source) == ("images", str(images))
    assert dataset.mirrors


def test_the_held_out_fifth_is_the_same_on_each_load(images: Path, load: Load, tmp_path: Path) -> None:
    fill(images, {"cat": 20, "dog": 10})
    first = load(images)
    shutil.rmtree(tmp_path / "cache")
    again = load(images)
    assert again.test.tolist() == first.test.tolist()
    assert again.content_hash == first.content_hash


def test_the_held_out_fifth_of_two_classes_of_ten_is_pinned(images: Path, load: Load) -> None:
    dataset = load(fill(images, {"cat": 10, "dog": 10}))
    assert dataset.test.tolist() == [1, 8, 10, 19]


def test_every_image_keeps_its_label_and_its_file(images: Path, load: Load) -> None:
    dataset = load(fill(images, {"dog": 3, "cat": 3}))
    assert dataset.files is not None
    for file, label, pixels in zip(dataset.files, dataset.labels, dataset.images, strict=True):
        assert file.split("/")[0] == dataset.classes[label]
        with Image.open(images / file) as image:
            assert np.unique(pixels).tolist() == [np.asarray(image).flat[0]]


def test_train_and_test_folders_are_the_split(images: Path, load: Load) -> None:
    dataset = load(two_levels(images))
    assert dataset.classes == ("cat", "dog")
    assert dataset.files is not None
    assert {dataset.files[index].split("/")[0] for index in dataset.train} == {"train"}
    assert {dataset.files[index].split("/")[0] for index in dataset.test} == {"test"}
    assert np.bincount(dataset.labels[dataset.train]).tolist() == [4, 3]
    assert np.bincount(dataset.labels[dataset.test]).tolist() == [1, 2]


def test_an_unreadable_training_image_does_not_move_the_border_to_test(images: Path, load: Load) -> None:
    two_levels(images)
    (images / "train/cat/00.png").write_bytes(b"not an image")
    dataset = load(images)
    assert (len(dataset.train), len(dataset.test)) == (6, 3)
    assert dataset.files is not None
    assert {dataset.files[index].split("/")[0] for index in dataset.test} == {"test"}


def test_test_may_lack_images_of_a_class(images: Path, load: Load) -> None:
    two_levels(images)
    (images / "test/cat/00.png").unlink()
    dataset = load(images)
    assert dataset.classes == ("cat", "dog")
    assert dataset.labels[dataset.test].tolist() == [1, 1]


def test_classes_called_train_and_test_are_classes_when_they_hold_images(images: Path, load: Load) -> None:
    assert load(fill(images, {"train": 5, "test": 5})).classes == ("test", "train")


def test_nested_images_are_found(images: Path, load: Load) -> None:
    fill(images, {"cat": 2, "dog": 2})
    write_image(images / "cat/more/of/them.png")
    assert "cat/more/of/them.png" in (load(images).files or ())


def test_hidden_folders_and_other_files_are_ignored(images: Path, load: Load) -> None:
    fill(images, {"cat": 2, "dog": 2, ".trash": 2, "__MACOSX": 2})
    (images / "readme.txt").write_text("hello")
    (images / "cat/notes.txt").write_text("hello")
    (images / "cat/labels.csv").write_text("hello")
    dataset = load(images, strict=True)
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.images) == 4


@pytest.mark.parametrize("hidden", [".thumbnails/00.png", ".ipynb_checkpoints/00-checkpoint.png", "._00.png"])
def test_hidden_files_within_a_class_are_ignored(images: Path, load: Load, hidden: str) -> None:
    # A copy of a training image in the held-out fifth would flatter the test result.
    fill(images, {"cat": 5, "dog": 5})
    (images / "cat" / hidden).parent.mkdir(exist_ok=True)
    shutil.copy(images / "cat/00.png", images / "cat" / hidden)
    assert len(load(images).images) == 10


def test_suffixes_are_read_in_either_case(images: Path, load: Load) -> None:
    fill(images, {"cat": 2}, ".PNG")
    fill(images, {"dog": 2}, ".JpEg")
    assert len(load(images, strict=True).images) == 4


# What is refused


def test_train_without_test_is_refused_with_a_hint(images: Path, load: Load) -> None:
    fill(images / "train", {"cat": 2, "dog": 2})
    sentence = refusal(load, images)
    assert "none called test" in sentence
    assert "val" not in sentence


def test_train_and_val_without_test_says_to_rename_val(images: Path, load: Load) -> None:
    fill(images / "train", {"cat": 2, "dog": 2})
    fill(images / "val", {"cat": 2, "dog": 2})
    assert "rename val to test" in refusal(load, images)


def test_a_class_that_is_only_in_test_is_refused(images: Path, load: Load) -> None:
    two_levels(images)
    fill(images / "test", {"emu": 1})
    assert "'emu'" in refusal(load, images)


def test_a_test_folder_without_images_is_refused(images: Path, load: Load) -> None:
    fill(images / "train", {"cat": 2, "dog": 2})
    for name in ("cat", "dog"):
        (images / "test" / name).mkdir(parents=True)
    assert "holds no images" in refusal(load, images)


def test_one_class_is_refused(images: Path, load: Load) -> None:
    assert "only the class folder 'cat'" in refusal(load, fill(images, {"cat": 3}))


def test_a_folder_without_class_folders_is_refused(images: Path, load: Load) -> None:
    write_image(images / "0.png")
    assert "no class folders" in refusal(load, images)


def test_a_class_folder_without_images_is_refused(images: Path, load: Load) -> None:
    fill(images, {"cat": 3, "dog": 3})
    (images / "emu").mkdir()
    assert "'emu'" in refusal(load, images)


def test_a_class_whose_images_are_all_unreadable_is_refused(images: Path, load: Load) -> None:
    fill(images, {"cat": 3, "dog": 3})
    (images / "emu").mkdir()
    (images / "emu/0.png").write_bytes(b"not an image")
    assert "'emu'" in refusal(load, images)


def test_a_folder_of_nothing_but_unreadable_images_is_refused(images: Path, load: Load) -> None:
    for name in ("cat", "dog"):
        (images / name).mkdir()
        (images / name / "0.png").write_bytes(b"not an image")
    assert "can be read" in refusal(load, images)


def test_a_test_folder_of_nothing_but_unreadable_images_is_refused(images: Path, load: Load) -> None:
    fill(images / "train", {"cat": 2, "dog": 2})
    for name in ("cat", "dog"):
        (images / "test" / name).mkdir(parents=True)
        (images / "test" / name / "0.png").write_bytes(b"not an image")
    assert "test" in refusal(load, images)


def test_a_class_whose_single_image_is_held_out_is_not_called_unreadable(images: Path, load: Load) -> None:
    sentence = refusal(load, fill(images, {"cat": 1, "dog": 1}))
    assert "can be read" not in sentence


# How an image is read


def test_grey_is_repeated_over_the_channels(images: Path, load: Load) -> None:
    fill(images, {"cat": 2, "dog": 2})
    write_image(images / "cat/grey.png", 77, "L")
    assert np.unique(only_image(load, images, "cat/grey.png")).tolist() == [77]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_is_scaled_rather_than_clipped(images: Path, load: Load, suffix: str) -> None:
    fill(images, {"cat": 2, "dog": 2})
    ramp = np.repeat(np.array([0, 16_448, 32_896, 65_535], np.uint16), 4)
    Image.fromarray(np.tile(ramp, (16, 1))).save(images / f"cat/ramp{suffix}")
    pixels = only_image(load, images, f"cat/ramp{suffix}", size=16)
    np.testing.assert_allclose(pixels[:, 8, [1, 6, 9, 14]], [[0, 64, 128, 255]] * 3, atol=1)


def test_transparency_is_laid_on_white(images: Path, load: Load) -> None:
    fill(images, {"cat": 2, "dog": 2})
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(images / "cat/clear.png")
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(images / "cat/half.png")
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 200, 10, 10])
    palette.save(images / "cat/palette.png", transparency=1)
    dataset = load(images)
    assert dataset.files is not None
    assert np.unique(dataset.images[dataset.files.index("cat/clear.png")]).tolist() == [255]
    assert np.unique(dataset.images[dataset.files.index("cat/half.png")]).tolist() == [127]
    assert np.unique(dataset.images[dataset.files.index("cat/palette.png")]).tolist() == [255]


def test_a_palette_is_looked_up(images: Path, load: Load) -> None:
    fill(images, {"cat": 2, "dog": 2})
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.save(images / "cat/palette.png")
    assert only_image(load, images, "cat/palette.png")[:, 0, 0].tolist() == [200, 100, 50]


def test_cmyk_becomes_rgb(images: Path, load: Load) -> None:
    fill(images, {"cat": 2, "dog": 2})
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(images / "cat/ink.jpg", quality=95)
    red, green, blue = only_image(load, images, "cat/ink.jpg")[:, 4, 4].tolist()
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize(("orientation", "red_side"), [(1, "left"), (3, "right"), (6, "top"), (8, "bottom")])
def test_a_photograph_is_turned_upright(images: Path, load: Load, orientation: int, red_side: str) -> None:
    fill(images, {"cat": 2, "dog": 2})
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[:, :32, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photo).save(images / "cat/photo.jpg", exif=exif, quality=95)
    red = only_image(load, images, "cat/photo.jpg")[0].astype(int)
    sides = {"left": red[:, :3], "right": red[:, -3:], "top": red[:3], "bottom": red[-3:]}
    assert max(sides, key=lambda side: sides[side].mean()) == red_side


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("size", [(96, 32), (32, 96)])
def test_the_middle_square_is_taken_and_resized(images: Path, load: Load, size: tuple[int, int], suffix: str) -> None:
    fill(images, {"cat": 2, "dog": 2})
    wide = Image.new("RGB", size, (255, 0, 0))
    left, top = (32, 0) if size[0] > size[1] else (0, 32)
    wide.paste((0, 0, 255), (left, top, left + 32, top + 32))
    wide.save(images / f"cat/wide{suffix}", quality=95)
    pixels = only_image(load, images, f"cat/wide{suffix}", size=4).astype(int)
    assert pixels.shape == (3, 4, 4)
    assert pixels[0, 1:-1, 1:-1].max() < 20
    assert pixels[2].min() > 200


def test_a_small_image_is_enlarged(images: Path, load: Load) -> None:
    fill(images, {"cat": 2, "dog": 2})
    write_image(images / "cat/dot.png", 42, size=(1, 1))
    assert np.unique(only_image(load, images, "cat/dot.png", size=16)).tolist() == [42]


# What cannot be read


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def truncated_jpeg(path: Path) -> bytes:
    pixels = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path.read_bytes()[:1500]


@pytest.mark.parametrize("width", [10_000, 60_000])
def test_an_image_of_too_many_pixels_is_skipped_before_it_is_decoded(images: Path, load: Load, width: int) -> None:
    fill(images, {"cat": 2, "dog": 2})
    (images / "cat/bomb.png").write_bytes(png_that_claims(width, width))
    (skipped,) = load(images).skipped
    assert skipped.startswith("cat/bomb.png (")
    assert "pixels" in skipped


def test_an_image_of_just_the_most_pixels_is_read(images: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_file, "MAX_PIXELS", 120)
    fill(images, {"cat": 2, "dog": 2})
    write_image(images / "cat/large.png", size=(11, 11))
    dataset = load(images)
    assert len(dataset.images) == 4
    assert [entry.split()[0] for entry in dataset.skipped] == ["cat/large.png"]


def test_unreadable_files_are_named_with_the_reason_and_left_out(images: Path, load: Load, tmp_path: Path) -> None:
    fill(images, {"cat": 3, "dog": 3})
    (images / "cat/01a.jpg").write_text("only text")
    (images / "dog/99.jpg").write_bytes(truncated_jpeg(tmp_path / "whole.jpg"))
    (images / "dog/empty.png").touch()
    dataset = load(images)
    assert [entry.split(" ")[0] for entry in dataset.skipped] == ["cat/01a.jpg", "dog/99.jpg", "dog/empty.png"]
    assert "cannot identify" in dataset.skipped[0]
    assert "truncated" in dataset.skipped[1]
    assert not any(str(images) in entry for entry in dataset.skipped)
    assert dataset.files == tuple(f"{name}/{index:02}.png" for name in ("cat", "dog") for index in range(3))
    assert [int(pixels[0, 0, 0]) for pixels in dataset.images] == list(range(6))
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_strict_refuses_an_unreadable_image(images: Path, load: Load) -> None:
    fill(images, {"cat": 3, "dog": 3})
    (images / "cat/text.jpg").write_text("only text")
    for attempt in ("decoded", "from the cache"):
        sentence = refusal(load, images, strict=True)
        assert "1 of 7" in sentence, attempt
        assert "cat/text.jpg" in sentence, attempt


def test_a_skipped_file_may_have_a_name_that_is_not_utf_8(images: Path, load: Load) -> None:
    fill(images, {"cat": 3, "dog": 3})
    name = os.fsencode(images / "cat") + b"/\xff.png"
    try:
        with open(name, "wb") as file:  # noqa: PTH123 - a pathlib path would have to decode the name first
            file.write(b"not an image")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    first = load(images)
    assert len(first.skipped) == 1
    assert load(images).skipped == first.skipped


# The cache


def test_the_second_load_decodes_nothing(images: Path, load: Load, no_decoding: Callable[[], None]) -> None:
    fill(images, {"cat": 5, "dog": 5})
    (images / "cat/text.jpg").write_text("only text")
    first = load(images)
    no_decoding()
    again = load(images)
    np.testing.assert_array_equal(again.images, first.images)
    assert (again.labels.tolist(), again.test.tolist()) == (first.labels.tolist(), first.test.tolist())
    assert (again.content_hash, again.files, again.skipped) == (first.content_hash, first.files, first.skipped)
    assert again.classes == first.classes


def test_the_images_are_memory_mapped_on_both_loads(images: Path, load: Load) -> None:
    fill(images, {"cat": 5, "dog": 5})
    for _ in range(2):
        assert isinstance(load(images).images, np.memmap)


def test_what_is_written_to_the_images_stays_out_of_the_cache(images: Path, load: Load) -> None:
    fill(images, {"cat": 5, "dog": 5})
    for _ in range(2):
        dataset = load(images)
        assert dataset.images[0].max() == 0
        dataset.images[:] = 200


def test_progress_is_told_while_decoding_and_only_then(images: Path, load: Load) -> None:
    fill(images, {"cat": 5, "dog": 5})
    first, again = Ear(), Ear()
    load(images, listener=first)
    load(images, listener=again)
    assert (first.works, first.advanced) == ([("decoding", 10)], 10)
    assert again.works == []


def test_a_file_changed_in_place_is_noticed_even_with_its_size_and_time_kept(images: Path, load: Load) -> None:
    fill(images, {"cat": 3, "dog": 3}, ".bmp")
    path = images / "cat/00.bmp"
    before = load(images)
    status = path.stat()
    write_image(path, 222)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    after = load(images)
    assert int(after.images[0, 0, 0, 0]) == 222
    assert after.content_hash != before.content_hash


def rename(root: Path) -> None:
    (root / "cat/00.png").rename(root / "cat/zz.png")


def move(root: Path) -> None:
    (root / "cat/00.png").rename(root / "dog/zz.png")


def add(root: Path) -> None:
    write_image(root / "cat/zz.png", 250)


def remove(root: Path) -> None:
    (root / "cat/00.png").unlink()


def rename_class(root: Path) -> None:
    (root / "dog").rename(root / "ant")


def swap(root: Path) -> None:
    (root / "cat/00.png").rename(root / "aside.png")
    (root / "dog/00.png").rename(root / "cat/00.png")
    (root / "aside.png").rename(root / "dog/00.png")


@pytest.mark.parametrize("change", [rename, move, add, remove, rename_class, swap])
def test_a_change_in_the_folder_is_noticed(
    images: Path, load: Load, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    fill(images, {"cat": 3, "dog": 3})
    load(images)
    change(images)
    cached, fresh = load(images), load(images, cache=tmp_path / "another cache")
    assert (cached.files, cached.classes) == (fresh.files, fresh.classes)
    assert cached.labels.tolist() == fresh.labels.tolist()
    np.testing.assert_array_equal(cached.images, fresh.images)


def test_another_image_size_is_another_entry(images: Path, load: Load, no_decoding: Callable[[], None]) -> None:
    fill(images, {"cat": 3, "dog": 3})
    assert load(images, size=8).images.shape[2:] == (8, 8)
    assert load(images, size=12).images.shape[2:] == (12, 12)
    no_decoding()
    assert load(images, size=8).images.shape[2:] == (8, 8)


def test_a_cache_that_cannot_be_written_is_said_and_done_without(images: Path, load: Load, tmp_path: Path) -> None:
    fill(images, {"cat": 5, "dog": 5})
    (images / "cat/text.jpg").write_text("only text")
    (tmp_path / "file").touch()
    ear = Ear()
    dataset = load(images, listener=ear, cache=tmp_path / "file" / "cache")
    (note,) = ear.notes
    assert str(tmp_path / "file" / "cache") in note
    expected = load(images)
    np.testing.assert_array_equal(dataset.images, expected.images)
    assert (dataset.content_hash, dataset.skipped) == (expected.content_hash, expected.skipped)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_half_built_is_left_by_an_exception(
    images: Path, load: Load, tmp_path: Path, error: type[BaseException]
) -> None:
    class Stop(Listener):
        @contextmanager
        def work(self, what: str, total: int | None, unit: str = "images") -> Iterator[Callable[[int], None]]:
            def advance(done: int) -> None:
                raise error

            yield advance

    fill(images, {"cat": 3, "dog": 3})
    with pytest.raises(error):
        load(images, listener=Stop())
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(load(images).images) == 6


def test_a_disk_error_while_building_is_one_sentence(
    images: Path, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    fill(images, {"cat": 3, "dog": 3})
    monkeypatch.setattr(Path, "write_text", write)
    sentence = refusal(load, images)
    assert str(tmp_path / "cache") in sentence
    assert "No space left" in sentence
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_full_disk_under_the_cache_does_not_kill_the_process(images: Path, tiny_disk: Path) -> None:
    # Writing to a mapped page that the disk has no room for is a SIGBUS, which no except catches.
    fill(images, {"cat": 3, "dog": 3})
    program = (
        "import sys; from pathlib import Path; from era_cli.core.data import folder\n"
        "from era_cli.errors import EraError; from era_cli.listener import Listener\n"
        "try: folder.load(Path(sys.argv[1]), 256, False, Listener(), cache_dir=Path(sys.argv[2]))\n"
        "except EraError as error: print(error)\n"
        "else: print('loaded')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, images, tiny_disk / "cache"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "make room" in done.stdout or "loaded" in done.stdout
    assert list((tiny_disk / "cache").glob(".building-*")) == []


# Names


FILE_NAMES = st.text(
    st.one_of(
        st.sampled_from(" '\"[]{}()$\\%&;*?~#=+-@<>|\t猫é\u202e😀"),
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"),
    ),
    min_size=1,
    max_size=20,
).filter(lambda name: not name.startswith((".", "__")) and len(name.encode()) < 100)


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.sets(FILE_NAMES, min_size=2, max_size=3), file=FILE_NAMES)
def test_odd_names_come_back_as_they_are(tmp_path_factory: pytest.TempPathFactory, names: set[str], file: str) -> None:
    base = tmp_path_factory.mktemp("odd")
    root = base / "images"
    for name in names:
        for index in range(2):
            write_image(root / name / f"{file}{index}.png", size=(4, 4))
        (root / name / f"{file}.jpg").write_text("only text")
    for _ in range(2):
        dataset = folder.load(root, SIZE, False, Listener(), cache_dir=base / "cache")
        assert dataset.classes == tuple(sorted(names))
        assert dataset.files == tuple(f"{name}/{file}{index}.png" for name in sorted(names) for index in range(2))
        assert [entry.split(" (cannot")[0] for entry in dataset.skipped] == [f"{n}/{file}.jpg" for n in sorted(names)]
    shutil.rmtree(base)


# All of a folder, for the classes of a run


RUN_CLASSES = ("dog", "cat", "emu")  # in the run's order, which is not the alphabet's


@pytest.fixture
def load_all(tmp_path: Path) -> Load:
    def loaded(root: Path, *, classes: tuple[str, ...] = RUN_CLASSES, listener: Listener | None = None) -> Dataset:
        return folder.load_all(root, classes, SIZE, listener or Listener(), cache_dir=tmp_path / "cache")

    return loaded


def test_all_images_are_taken_and_labelled_in_the_order_of_the_runs_classes(images: Path, load_all: Load) -> None:
    dataset = load_all(fill(images, {"cat": 3, "dog": 2, "emu": 1}))
    assert dataset.classes == RUN_CLASSES
    assert dataset.files is not None
    assert sorted(dataset.files) == sorted(str(path.relative_to(images)) for path in images.rglob("*.png"))
    assert [RUN_CLASSES[label] for label in dataset.labels] == [Path(file).parent.name for file in dataset.files]
    greys = {"cat/00.png": 0, "cat/01.png": 1, "cat/02.png": 2, "dog/00.png": 3, "dog/01.png": 4, "emu/00.png": 5}
    assert [int(pixels[0, 0, 0]) for pixels in dataset.images] == [greys[file] for file in dataset.files]
    assert dataset.test.tolist() == list(range(6))
    assert len(dataset.train) == 0
    assert dataset.source_index(dataset.test).tolist() == list(range(6))
    assert (dataset.name, dataset.source, dataset.image_size) == ("images", str(images), SIZE)


def test_a_class_may_have_no_folder_or_an_empty_one(images: Path, load_all: Load) -> None:
    fill(images, {"cat": 2})
    (images / "emu").mkdir()
    dataset = load_all(images)
    assert dataset.labels.tolist() == [1, 1]
    assert dataset.classes == RUN_CLASSES


def test_a_folder_named_after_no_class_is_refused(images: Path, load_all: Load) -> None:
    fill(images, {"cat": 2, "Dog": 1})
    sentence = refusal(load_all, images)
    assert "'Dog'" in sentence
    assert "dog, cat, emu" in sentence


def test_of_train_and_test_only_test_is_taken(images: Path, load_all: Load) -> None:
    two_levels(images)
    write_image(images / "train" / "fox" / "0.png")  # not looked at, so no harm
    dataset = load_all(images)
    assert dataset.files is not None
    assert sorted(dataset.files) == ["test/cat/00.png", "test/dog/00.png", "test/dog/01.png"]
    write_image(images / "test" / "fox" / "0.png")
    assert "'fox'" in refusal(load_all, images)


def test_train_and_test_may_be_the_runs_own_classes(images: Path, load_all: Load) -> None:
    dataset = load_all(fill(images, {"train": 2, "test": 1}), classes=("test", "train"))
    assert np.bincount(dataset.labels).tolist() == [1, 2]


@pytest.mark.parametrize("content", ["nothing", "loose images", "no images in the folders"])
def test_a_folder_without_images_of_the_runs_classes_is_refused(images: Path, load_all: Load, content: str) -> None:
    if content == "loose images":
        write_image(images / "0.png")
    if content == "no images in the folders":
        (images / "cat").mkdir()
        (images / "cat" / "notes.txt").touch()
    assert str(images) in refusal(load_all, images)


def test_unreadable_images_are_left_out_and_named_but_not_all_may_be(images: Path, load_all: Load) -> None:
    fill(images, {"cat": 3, "dog": 1})
    (images / "cat" / "01.png").write_text("only text")
    for _ in ("decoded", "from the cache"):
        dataset = load_all(images)
        assert [entry.split(" ")[0] for entry in dataset.skipped] == ["cat/01.png"]
        assert dataset.files == ("dog/00.png", "cat/00.png", "cat/02.png")
        assert dataset.labels.tolist() == [0, 1, 1]
        assert dataset.test.tolist() == [0, 1, 2]
    for path in images.rglob("*.png"):
        path.write_text("only text")
    assert "none of the 4 images can be read" in refusal(load_all, images)


def test_the_hash_of_all_images_tells_pixels_labels_and_the_order_of_classes_apart(
    images: Path, load_all: Load
) -> None:
    fill(images, {"cat": 2, "dog": 2})
    hashes = [load_all(images).content_hash, load_all(images, classes=("cat", "dog", "emu")).content_hash]
    (images / "cat" / "00.png").rename(images / "dog" / "0a.png")
    hashes.append(load_all(images).content_hash)
    write_image(images / "dog" / "01.png", 250)
    hashes.append(load_all(images).content_hash)
    assert len(set(hashes)) == 4
    assert load_all(images).content_hash == hashes[-1]


def test_loading_all_and_loading_to_train_do_not_take_each_others_cache(
    images: Path, load: Load, load_all: Load
) -> None:
    fill(images, {"cat": 5, "dog": 5})
    for classes in (("cat", "dog"), ("dog", "cat")):
        dataset, trained = load_all(images, classes=classes), load(images)
        for one in (dataset, trained):
            assert one.files is not None
            names = [one.classes[label] for label in one.labels]
            assert names == [file.split("/")[0] for file in one.files]
        assert dataset.files is not None
        greys = [int(pixels[0, 0, 0]) for pixels in dataset.images]
        assert greys == [5 * file.startswith("dog") + int(file[-6:-4]) for file in dataset.files]
