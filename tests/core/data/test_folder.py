from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from era_cli.core.data import folder, image_tree
from era_cli.core.data.dataset import Dataset
from era_cli.errors import EraError
from era_cli.listener import Listener
from tests.core.data.support import Ear, fill, reference_hash, stored_hashes, write_image

SIZE = 8
PETS = {"cat": 5, "dog": 5}
SPLITS = {"train/cat": 4, "train/dog": 3, "test/cat": 1, "test/dog": 2}
Load = Callable[..., Dataset]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(root: Path, *, size: int = SIZE, strict: bool = False, **options: Any) -> Dataset:
        listener, cache_dir = options.get("listener", Listener()), options.get("cache", tmp_path / "cache")
        return folder.load(root, size, strict, listener, cache_dir=cache_dir)

    return loaded


@pytest.fixture
def load_all(tmp_path: Path) -> Load:
    def loaded(root: Path, classes: tuple[str, ...] = ("dog", "cat", "emu")) -> Dataset:  # not in sorted order
        return folder.load_all(root, classes, SIZE, Listener(), cache_dir=tmp_path / "cache")

    return loaded


def refusal(load: Load, root: Path, **options: Any) -> str:
    with pytest.raises(EraError) as caught:
        load(root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files_of(dataset: Dataset, indices: Any = slice(None)) -> list[str]:
    return np.array(dataset.files)[indices].tolist()


def greys(dataset: Dataset) -> list[int]:
    return [int(pixels[0, 0, 0]) for pixels in dataset.images]


# Layout


def test_one_level_holds_out_a_fifth_of_each_class(images: Path, load: Load) -> None:
    dataset = load(fill(images, {"cat": 20, "dog": 10, "emu": 5}))
    assert dataset.classes == ("cat", "dog", "emu")
    assert dataset.class_counts(dataset.test).tolist() == [4, 2, 1]
    assert sorted([*dataset.train, *dataset.test]) == list(range(35))
    assert (dataset.name, dataset.source) == ("images", str(images))
    assert dataset.mirrors
    assert not dataset.own_test


def test_every_image_keeps_its_label_and_file(images: Path, load: Load) -> None:
    dataset = load(fill(images, {"dog": 3, "cat": 3}))
    assert [file.split("/")[0] for file in files_of(dataset)] == [dataset.classes[label] for label in dataset.labels]
    for file, pixels in zip(files_of(dataset), dataset.images, strict=True):
        with Image.open(images / file) as image:
            assert np.unique(pixels).tolist() == [np.asarray(image).flat[0]]


@pytest.mark.parametrize("unreadable", [False, True])
def test_train_and_test_folders_are_the_split(images: Path, load: Load, unreadable: bool) -> None:
    fill(images, SPLITS)
    if unreadable:
        (images / "train/cat/00.png").write_bytes(b"not an image")
    dataset = load(images)
    assert dataset.own_test
    assert dataset.classes == ("cat", "dog")
    assert {file.split("/")[0] for file in files_of(dataset, dataset.train)} == {"train"}
    assert {file.split("/")[0] for file in files_of(dataset, dataset.test)} == {"test"}
    assert dataset.class_counts(dataset.train).tolist() == [4 - unreadable, 3]
    assert dataset.class_counts(dataset.test).tolist() == [1, 2]


def test_the_test_folder_may_lack_a_class(images: Path, load: Load) -> None:
    dataset = load(fill(images, {**SPLITS, "test/cat": 0}))
    assert dataset.class_counts(dataset.test).tolist() == [0, 2]


def test_train_and_test_may_be_classes(images: Path, load: Load, load_all: Load) -> None:
    fill(images, {"train": 5, "test": 5})
    for dataset in (load(images), load_all(images, ("test", "train"))):
        assert dataset.classes == ("test", "train")
        assert len(dataset.images) == 10


def test_which_files_count_as_images(images: Path, load: Load) -> None:
    # A hidden copy of a training image in the test split would inflate the test accuracy.
    fill(images, {"cat": 2, "dog/more/of": 2, ".trash": 2, "__MACOSX": 2, "cat/.thumbnails": 2})
    for name in ("cat/._00.png", "cat/notes.txt", "dog/labels.csv", "readme.txt"):
        shutil.copy(images / "cat/00.png", images / name)
    write_image(images / "dog/upper.PNG")
    write_image(images / "dog/mixed.JpEg")
    dataset = load(images, strict=True)
    expected = {
        "cat/00.png",
        "cat/01.png",
        "dog/more/of/00.png",
        "dog/more/of/01.png",
        "dog/upper.PNG",
        "dog/mixed.JpEg",
    }
    assert set(files_of(dataset)) == expected
    assert dataset.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("counts", "unreadable", "sentence"),
    [
        ({"train/cat": 2, "train/dog": 2}, [], "none called test: add it"),
        ({"train/cat": 2, "train/dog": 2, "val/cat": 2}, [], "rename val to test"),
        ({**SPLITS, "test/emu": 1}, [], "has a class 'emu'"),
        ({**SPLITS, "test/cat": 0, "test/dog": 0}, [], "test holds no images"),
        ({**SPLITS, "test/cat": 0, "test/dog": 0}, ["test/cat", "test/dog"], "test can be read"),
        ({"cat": 3}, [], "only the class folder 'cat'"),
        ({".": 1}, [], "no class folders, but 1 image directly"),
        ({"cat": 3, "dog": 3, "emu": 0}, [], "class folder 'emu'"),
        ({"cat": 3, "dog": 3, "emu": 0}, ["emu"], "no training image of class 'emu'"),
        ({"cat": 0, "dog": 0}, ["cat", "dog"], "no image of 2 can be read"),
        ({"cat": 1, "dog": 1}, [], "too few images to train and test on"),
    ],
)
def test_an_unusable_folder_is_refused(
    images: Path, load: Load, counts: dict[str, int], unreadable: list[str], sentence: str
) -> None:
    fill(images, counts)
    for name in unreadable:
        (images / name / "broken.png").write_bytes(b"not an image")
    assert sentence in refusal(load, images)


# Unreadable images


def png_that_claims(side: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 99)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def truncated_jpeg(path: Path) -> bytes:
    pixels = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path.read_bytes()[:1500]


def test_unreadable_images_are_skipped_with_a_reason(images: Path, load: Load, tmp_path: Path) -> None:
    fill(images, {"cat": 3, "dog": 3})
    unreadable = {
        "cat/01a.jpg": (b"only text", "cannot identify"),
        "cat/bomb.png": (png_that_claims(10_000), "pixels"),  # Pillow would only warn
        "cat/bomb2.png": (png_that_claims(60_000), "pixels"),
        "dog/99.jpg": (truncated_jpeg(tmp_path / "whole.jpg"), "truncated"),
        "dog/empty.png": (b"", "cannot identify"),
    }
    for name, (content, _) in unreadable.items():
        (images / name).write_bytes(content)
    dataset = load(images)
    assert [entry.split(" ")[0] for entry in dataset.skipped] == list(unreadable)
    for entry, (_, reason) in zip(dataset.skipped, unreadable.values(), strict=True):
        assert reason in entry
        assert str(images) not in entry
    assert files_of(dataset) == [f"{name}/{index:02}.png" for name in ("cat", "dog") for index in range(3)]
    assert greys(dataset) == list(range(6))
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    for _ in ("decoded", "cached"):
        assert "5 of 11 images cannot be read, first cat/01a.jpg" in refusal(load, images, strict=True)


def test_a_skipped_name_need_not_be_utf_8(images: Path, load: Load) -> None:
    fill(images, PETS)
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


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on decoding any image fails the test."""
    return lambda: monkeypatch.setattr(folder, "_decode", lambda path, size, budget: pytest.fail(f"{path} was decoded"))


def test_the_second_load_decodes_nothing(images: Path, load: Load, no_decoding: Callable[[], None]) -> None:
    fill(images, PETS)
    (images / "cat/text.jpg").write_text("only text")
    ear, other_ear = Ear(), Ear()
    first = load(images, listener=ear)
    assert load(images, size=12).images.shape[2:] == (12, 12)
    no_decoding()
    again = load(images, listener=other_ear)
    np.testing.assert_array_equal(again.images, first.images)
    assert (again.labels.tolist(), again.test.tolist()) == (first.labels.tolist(), first.test.tolist())
    assert (again.classes, again.files, again.skipped) == (first.classes, first.files, first.skipped)
    assert again.content_hash == first.content_hash == reference_hash(first)
    assert isinstance(first.images, np.memmap)
    assert isinstance(again.images, np.memmap)
    assert (ear.works, ear.done) == ([("decoding", 11, "images")], 11)
    assert other_ear.works == []


def test_writing_to_the_images_spares_the_cache(images: Path, load: Load) -> None:
    fill(images, PETS)
    for _ in range(2):
        dataset = load(images)
        assert dataset.images[0].max() == 0
        dataset.images[:] = 200


def test_a_change_that_keeps_size_and_time_is_noticed(images: Path, load: Load) -> None:
    fill(images, PETS, ".bmp")
    path = images / "cat/00.bmp"
    before, status = load(images), path.stat()
    write_image(path, 222)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    after = load(images)
    assert greys(after)[0] == 222
    assert after.content_hash == reference_hash(after) != before.content_hash


def swap(root: Path) -> None:
    (root / "cat/00.png").rename(root / "aside.png")
    (root / "dog/00.png").rename(root / "cat/00.png")
    (root / "aside.png").rename(root / "dog/00.png")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda root: (root / "cat/00.png").rename(root / "cat/zz.png"), id="rename"),
        pytest.param(lambda root: (root / "cat/00.png").rename(root / "dog/zz.png"), id="move"),
        pytest.param(lambda root: write_image(root / "cat/zz.png", 250), id="add"),
        pytest.param(lambda root: (root / "cat/00.png").unlink(), id="remove"),
        pytest.param(lambda root: (root / "dog").rename(root / "ant"), id="rename-class"),
        pytest.param(swap, id="swap"),
    ],
)
def test_a_change_in_the_folder_is_noticed(
    images: Path, load: Load, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    load(fill(images, PETS))
    change(images)
    cached, fresh = load(images), load(images, cache=tmp_path / "another cache")
    assert (cached.files, cached.classes) == (fresh.files, fresh.classes)
    assert cached.labels.tolist() == fresh.labels.tolist()
    np.testing.assert_array_equal(cached.images, fresh.images)
    assert cached.content_hash == fresh.content_hash == reference_hash(cached)


def test_an_unwritable_cache_is_noted(images: Path, load: Load, tmp_path: Path) -> None:
    fill(images, PETS)
    (images / "cat/text.jpg").write_text("only text")
    (tmp_path / "file").touch()
    ear = Ear()
    dataset = load(images, listener=ear, cache=tmp_path / "file" / "cache")
    (note,) = ear.notes
    assert str(tmp_path / "file" / "cache") in note
    expected = load(images)
    np.testing.assert_array_equal(dataset.images, expected.images)
    assert (dataset.content_hash, dataset.skipped) == (expected.content_hash, expected.skipped)


def test_a_cache_that_may_not_be_entered_is_noted(
    images: Path, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For root, whom no permission stops, as for anybody else.
    cache_dir = tmp_path / "cache"

    def refused(call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(path: Any, *arguments: Any, **options: Any) -> Any:
            if cache_dir in Path(os.fsdecode(path)).parents:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(path, *arguments, **options)

        return checked

    fill(images, PETS)
    expected = load(images, cache=tmp_path / "other")
    cache_dir.mkdir()
    for name in ("stat", "lstat", "open", "mkdir"):
        monkeypatch.setattr(os, name, refused(getattr(os, name)))
    ear = Ear()
    np.testing.assert_array_equal(load(images, listener=ear).images, expected.images)
    assert ear.notes == [f"The decoded images are not cached: {cache_dir} cannot be used (Permission denied)."]


def test_a_full_disk_is_one_sentence(images: Path, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    fill(images, PETS)
    monkeypatch.setattr(Path, "write_text", write)
    sentence = refusal(load, images)
    assert str(tmp_path / "cache") in sentence
    assert "No space left" in sentence
    assert list((tmp_path / "cache").iterdir()) == []


NAMES = st.text(
    st.one_of(
        st.sampled_from(" '\"[]{}()$\\%&;*?~#=+-@<>|\t猫é\u202e😀"),
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"),
    ),
    min_size=1,
    max_size=20,
).filter(lambda name: not name.startswith((".", "__")) and len(name.encode()) < 100)


@settings(max_examples=15, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(classes=st.sets(NAMES, min_size=2, max_size=3), file=NAMES)
def test_odd_names_come_back_unchanged(tmp_path_factory: pytest.TempPathFactory, classes: set[str], file: str) -> None:
    base = tmp_path_factory.mktemp("odd")
    for name in classes:
        for index in range(2):
            write_image(base / "images" / name / f"{file}{index}.png", size=(4, 4))
        (base / "images" / name / f"{file}.jpg").write_text("only text")
    for _ in range(2):
        dataset = folder.load(base / "images", SIZE, False, Listener(), cache_dir=base / "cache")
        names = sorted(classes)
        assert dataset.classes == tuple(names)
        assert files_of(dataset) == [f"{name}/{file}{index}.png" for name in names for index in range(2)]
        assert [entry.split(" (cannot")[0] for entry in dataset.skipped] == [f"{name}/{file}.jpg" for name in names]
    shutil.rmtree(base)


# All images of a folder, labelled by the classes of a run


def test_load_all_labels_by_the_runs_classes(images: Path, load_all: Load) -> None:
    dataset = load_all(fill(images, {"cat": 3, "dog": 2, "emu": 1}))
    assert dataset.classes == ("dog", "cat", "emu")
    assert files_of(dataset) == ["dog/00.png", "dog/01.png", "cat/00.png", "cat/01.png", "cat/02.png", "emu/00.png"]
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1, 2]
    assert greys(dataset) == [3, 4, 0, 1, 2, 5]
    assert dataset.test.tolist() == dataset.source_index(dataset.test).tolist() == list(range(6))
    assert len(dataset.train) == 0
    assert (dataset.name, dataset.source, dataset.image_size) == ("images", str(images), SIZE)


def test_load_all_accepts_missing_and_empty_classes(images: Path, load_all: Load) -> None:
    assert load_all(fill(images, {"cat": 2, "emu": 0})).labels.tolist() == [1, 1]


def test_load_all_takes_test_of_train_and_test(images: Path, load_all: Load) -> None:
    fill(images, {**SPLITS, "train/fox": 1})  # train is not read
    assert files_of(load_all(images)) == ["test/dog/00.png", "test/dog/01.png", "test/cat/00.png"]
    fill(images, {"test/fox": 1})
    assert "'fox'" in refusal(load_all, images)


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({}, "holds no images in folders named after the run's classes (dog, cat, emu)"),
        ({".": 1}, "holds no images in folders"),
        ({"cat": 0}, "holds no images in folders"),
        ({"cat": 2, "Dog": 1}, "'Dog', which is not a class of the run (dog, cat, emu)"),
    ],
)
def test_load_all_refuses_a_folder_of_other_content(
    images: Path, load_all: Load, counts: dict[str, int], sentence: str
) -> None:
    assert sentence in refusal(load_all, fill(images, counts))


def test_load_all_skips_unreadable_images(images: Path, load_all: Load) -> None:
    fill(images, {"cat": 3, "dog": 1})
    (images / "cat" / "01.png").write_text("only text")
    for _ in ("decoded", "cached"):
        dataset = load_all(images)
        assert [entry.split(" ")[0] for entry in dataset.skipped] == ["cat/01.png"]
        assert files_of(dataset) == ["dog/00.png", "cat/00.png", "cat/02.png"]
        assert dataset.labels.tolist() == [0, 1, 1]
        assert dataset.test.tolist() == [0, 1, 2]
    for path in images.rglob("*.png"):
        path.write_text("only text")
    assert "no image of 4 can be read" in refusal(load_all, images)


def test_both_ways_of_loading_share_one_cache(images: Path, load: Load, load_all: Load, tmp_path: Path) -> None:
    fill(images, PETS)
    for classes, hashes in ((("cat", "dog"), 2), (("dog", "cat"), 3)):
        for _ in ("decoded", "cached"):
            everything, split = load_all(images, classes), load(images)
            for dataset in (everything, split):
                names = [dataset.classes[label] for label in dataset.labels]
                assert names == [file.split("/")[0] for file in files_of(dataset)]
                assert greys(dataset) == [5 * file.startswith("dog") + int(file[-6:-4]) for file in files_of(dataset)]
                assert dataset.content_hash == reference_hash(dataset)
        assert len(stored_hashes(tmp_path / "cache")) == hashes
    # A run's own folder, moved: its content hash is found without the split that it was loaded with.
    assert load_all(images, ("cat", "dog")).content_hash_with(split.test) == split.content_hash


# Links, special files, and folders without end


def test_links_within_the_folder_are_followed(images: Path, load: Load) -> None:
    fill(images, {"cat": 3, "dog": 3})
    (images / "cat/99.png").symlink_to("../dog/00.png")
    (images / "emu").symlink_to("dog")
    dataset = load(images)
    assert dataset.class_counts(np.arange(len(dataset.images))).tolist() == [4, 3, 3]


@pytest.mark.parametrize("link", ["emu", "cat/more", "cat/99.png", "cat/sub/98.JPG", "test"])
@pytest.mark.parametrize("target", ["/", "outside", "nowhere"])
def test_a_link_out_of_the_folder_is_refused(images: Path, load: Load, tmp_path: Path, link: str, target: str) -> None:
    fill(images, {"cat/sub": 3, "dog": 3})
    write_image(tmp_path / "outside/00.png")
    (images / link).symlink_to(tmp_path / target)
    if target == "nowhere" and link == "cat/more":
        assert len(load(images).images) == 6  # no image, and nothing to follow
    else:
        sentence = refusal(load, images)
        assert f"{images / link} is a link to {tmp_path / target}, outside {images}" in sentence
        assert "cp -rL" in sentence


def test_what_is_no_regular_file_is_listed_as_unreadable(images: Path, load: Load) -> None:
    fill(images, PETS)
    os.mkfifo(images / "cat/pipe.png")
    (images / "cat/gone.jpg").symlink_to("nothing.jpg")
    (images / "cat/loop.jpg").symlink_to("loop.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(images / "dog/socket.png"))
        skipped = load(images).skipped
    assert skipped == (
        "cat/gone.jpg (No such file or directory)",
        "cat/loop.jpg (Too many levels of symbolic links)",
        "cat/pipe.png (it is a named pipe)",
        "dog/socket.png (No such device or address)",
    )
    assert "4 of 14 images cannot be read" in refusal(load, images, strict=True)


def test_a_link_to_a_folder_in_a_class_is_no_unreadable_image(images: Path, load: Load) -> None:
    fill(images, PETS)
    (images / "cat/linked").symlink_to("../dog")
    ear = Ear()
    dataset = load(images, strict=True, listener=ear)
    assert (len(dataset.images), dataset.skipped) == (10, ())
    assert ear.warnings == ["1 link to a folder is left out: images are read where they are, not through such links."]


@pytest.mark.parametrize("cached", [False, True])
def test_images_of_other_formats_are_counted(images: Path, load: Load, cached: bool) -> None:
    fill(images, SPLITS)
    if cached:
        load(images)
    for name in ("train/cat/a.HEIC", "train/dog/b.heic", "test/dog/c.ico", "test/dog/notes.txt", "train/dog/d.svg"):
        (images / name).touch()
    (images / "test/dog/e.dds").symlink_to("/")  # a link to a folder, out of the folder
    assert "outside" in refusal(load, images)
    (images / "test/dog/e.dds").unlink()
    (images / "test/dog/e.dds").touch()
    ear = Ear()
    assert load(images, listener=ear).skipped == ()
    assert ear.warnings == [
        "5 images in a format that era does not read are left out (2 .heic, 1 .svg, 1 .ico and 1 more format):"
        " convert them to PNG or JPEG."
    ]


def test_a_class_that_links_to_nothing_is_named(images: Path, load: Load) -> None:
    fill(images, PETS)
    (images / "emu").symlink_to("gone")
    assert f"{images / 'emu'} is a broken link" in refusal(load, images)


@pytest.mark.parametrize("locked", ["cat", "cat/sub"])
def test_a_folder_that_may_not_be_listed_is_said(
    images: Path, load: Load, locked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For root, whom no permission stops, as for anybody else.
    def scandir(path: Path, scan: Callable[..., Any] = os.scandir) -> Any:
        if Path(path) == images / locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    fill(images, {"cat": 3, "cat/sub": 1, "dog": 3})
    monkeypatch.setattr(os, "scandir", scandir)
    if locked == "cat":
        assert f"class folder {images / 'cat'} cannot be read (Permission denied): fix" in refusal(load, images)
    else:
        (entry,) = load(images).skipped
        assert entry.startswith("cat/sub (")


def test_folders_without_end_are_refused(images: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(images, PETS)
    write_image(images.joinpath("dog", *"d" * 32, "00.png"))
    assert len(load(images).images) == 11
    (images.joinpath("dog", *"d" * 33)).mkdir()
    assert "more than 32 folders deep" in refusal(load, images)
    shutil.rmtree(images / "dog/d")
    monkeypatch.setattr(image_tree, "MOST", 9)
    assert "more than 9 files and folders" in refusal(load, images)


def test_ctrl_c_does_not_wait_for_an_image_that_is_being_decoded(images: Path, tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from era_cli.core.data import folder\n"
        "from era_cli.listener import Listener\n"
        "folder.load_image = lambda *_: (print('decoding', flush=True), time.sleep(60))\n"
        "folder.load(Path(sys.argv[1]), 8, False, Listener(), cache_dir=Path(sys.argv[2]))\n"
    )
    fill(images, PETS)
    process = subprocess.Popen(
        [sys.executable, "-c", program, images, tmp_path / "cache"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) != 0
    assert list((tmp_path / "cache").iterdir()) == []
