from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image, ImageOps

from era_cli.core.data import image_file
from era_cli.core.data.image_file import load_image, reason
from era_cli.core.data.memory_budget import MemoryBudget
from era_cli.errors import EraError


def saved_and_loaded(image: Image.Image, path: Path, size: int = 8) -> np.ndarray:
    image.save(path, quality=95, exif=image.getexif())
    pixels = load_image(path, size)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    return pixels


def palette(*, transparent: bool) -> Image.Image:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    if transparent:
        image.info["transparency"] = 1
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param(Image.new("L", (8, 8), 77), (77, 77, 77), id="grey"),
        pytest.param(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), (255, 255, 255), id="clear"),
        pytest.param(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), (127, 127, 127), id="half-clear"),
        pytest.param(palette(transparent=False), (200, 100, 50), id="palette"),
        pytest.param(palette(transparent=True), (255, 255, 255), id="clear-palette"),
        pytest.param(Image.new("RGB", (1, 1), (42, 42, 42)), (42, 42, 42), id="one-pixel"),
    ],
)
def test_every_mode_becomes_rgb_on_white(tmp_path: Path, image: Image.Image, expected: tuple[int, ...]) -> None:
    pixels = saved_and_loaded(image, tmp_path / "image.png")
    assert {tuple(pixel) for pixel in pixels.reshape(-1, 3).tolist()} == {expected}


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    red, green, blue = saved_and_loaded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), tmp_path / "ink.jpg")[4, 4]
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    ramp = np.repeat(np.array([0, 16_448, 32_896, 65_535], np.uint16), 4)
    Image.fromarray(np.tile(ramp, (16, 1))).save(tmp_path / f"ramp{suffix}")
    pixels = load_image(tmp_path / f"ramp{suffix}", 16)
    np.testing.assert_allclose(pixels[8, [1, 6, 9, 14]], np.repeat([[0], [64], [128], [255]], 3, axis=1), atol=1)


@pytest.mark.parametrize(("orientation", "red_side"), [(1, "left"), (3, "right"), (6, "top"), (8, "bottom")])
def test_a_photo_is_turned_upright(tmp_path: Path, orientation: int, red_side: str) -> None:
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[:, :32, 0] = 255
    image = Image.fromarray(photo)
    image.getexif()[0x0112] = orientation
    red = saved_and_loaded(image, tmp_path / "photo.jpg")[..., 0].astype(int)
    sides = {"left": red[:, :3], "right": red[:, -3:], "top": red[:3], "bottom": red[-3:]}
    assert max(sides, key=lambda side: sides[side].mean()) == red_side


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("size", [(96, 32), (32, 96)])
def test_the_center_square_is_cropped(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    image = Image.new("RGB", size, (255, 0, 0))
    left, top = (32, 0) if size[0] > size[1] else (0, 32)
    image.paste((0, 0, 255), (left, top, left + 32, top + 32))
    pixels = saved_and_loaded(image, tmp_path / f"wide{suffix}", size=4).astype(int)
    assert pixels[1:-1, 1:-1, 0].max() < 20
    assert pixels[..., 2].min() > 200


def test_a_rotated_tiff_that_pillow_would_map_is_turned_upright(tmp_path: Path) -> None:
    grey = np.zeros((8, 12), np.uint8)
    grey[:, 6:] = 255
    image = Image.fromarray(grey)
    image.getexif()[0x0112] = 6
    image.save(tmp_path / "scan.tif", exif=image.getexif())
    pixels = load_image(tmp_path / "scan.tif", 8)[..., 0]
    assert pixels[:3].max() == 0
    assert pixels[-3:].min() == 255


# What a hostile file may not do

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n%%EOF\n"


@pytest.mark.parametrize("name", ["photo.jpg", "photo.eps"])
def test_no_other_program_is_started(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with pytest.raises(ValueError, match="cannot identify"):
        load_image(tmp_path / name, 8)


def test_the_documented_formats_are_those_that_are_read() -> None:
    page = (Path(__file__).parents[3] / ".github" / "docs" / "data.md").read_text()
    assert ", ".join(sorted(image_file.FORMATS)[:-1]) + f" and {max(image_file.FORMATS)}" in page
    assert {".jpg", ".png", ".webp", ".tif"} <= image_file.suffixes()
    assert not {".eps", ".ps", ".wmf", ".h5", ".mpg", ".psd"} & image_file.suffixes()


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path, kind in ((tmp_path / "pipe.png", "a named pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(OSError, match=kind) as caught:
            load_image(path, 8)
        assert reason(caught.value, path) == f"it is {kind}"


def test_a_jpeg_of_endless_scans_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slow.jpg"
    Image.new("L", (64, 64)).save(path, progressive=True)
    content = path.read_bytes()
    assert load_image(path, 8).shape == (8, 8, 3)
    last = content[content.rfind(b"\xff\xda") : -2]
    path.write_bytes(content[:-2] + last * 100 + content[-2:])
    with pytest.raises(ValueError, match="scans"):
        load_image(path, 8)


def test_a_large_file_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.jpg"
    Image.new("L", (64, 64)).save(path, progressive=True)
    os.truncate(path, 300_000_000)
    tracemalloc.start()
    try:
        assert load_image(path, 8).shape == (8, 8, 3)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    os.truncate(path, 3_000_000_000)
    with pytest.raises(ValueError, match=r"the file is larger than 1\.0 GB"):
        load_image(path, 8)


@pytest.mark.parametrize("block", [1, 2, 3])
def test_scans_are_counted_across_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_file, "_READ", block)
    assert image_file._count(io.BytesIO(b"\xff\xda.\xff\xff\xda..\xda\xff\xff"), b"\xff\xda") == 2


def test_a_large_file_is_decoded_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (10, 10)).save(path)
    monkeypatch.setattr(image_file, "_LARGE_FILE", 10)
    budget = MemoryBudget(10_000)
    with ThreadPoolExecutor() as pool:
        with budget.taken(1):
            waiting = pool.submit(load_image, path, 8, budget)
            time.sleep(0.1)
            assert not waiting.done()
        assert waiting.result(timeout=10).shape == (8, 8, 3)


def test_a_look_at_the_formats_changes_nothing_in_pillow() -> None:
    program = (
        "import sys; from pathlib import Path; from PIL import Image; from era_cli.core.data import image_file\n"
        "image_file.suffixes(); before = Image.core.get_block_size()\n"
        "image_file.load_image(Path(sys.argv[1]), 8); print(before, Image.core.get_block_size())"
    )
    image = Path(__file__).parents[3] / ".github/images/strip.jpg"
    done = subprocess.run([sys.executable, "-c", program, image], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(1 << 24), str(1 << 26)]


@pytest.mark.parametrize("suffix", [".bmp", ".dib", ".tga", ".png"])
def test_a_file_is_read_as_the_format_it_is_in(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"image{suffix}")
    np.testing.assert_array_equal(load_image(tmp_path / f"image{suffix}", 8), pixels)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory was taken")
def test_decoding_takes_the_memory_that_it_is_counted_with(tmp_path: Path) -> None:
    # Six threads, and memory for one image: on the whole at once each took 320 MB, and kept some of it.
    program = (
        "import os, sys; from pathlib import Path; from era_cli.core.data import folder\n"
        "from era_cli.listener import Listener\n"
        "def peak(): return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
        "os.cpu_count, folder.MAX_BYTES = (lambda: 6), 130_000_000\n"
        "def load(name): folder.load(Path(sys.argv[1], name), 8, False, Listener(), cache_dir=Path(sys.argv[1], 'c'))\n"
        "load('small'); before = peak(); load('large'); print((peak() - before) / 1e3)\n"
    )
    for name, side in (("small", 8), ("large", 4_000)):
        for file in ("cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/1.png", "dog/2.png"):
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            if file == "cat/0.png":
                Image.new("RGBA", (side, side)).save(tmp_path / name / file, compress_level=1)
            else:
                (tmp_path / name / file).hardlink_to(tmp_path / name / "cat/0.png")
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert 50 < float(done.stdout) < 200


def test_an_image_is_capped_by_the_memory_that_decoding_takes(tmp_path: Path) -> None:
    image = Image.new("RGB", (100, 100))
    for name, fits in (("image.png", True), ("image.jp2", False)):
        image.save(tmp_path / name)
        budget = MemoryBudget(100 * 100 * 8)
        if fits:
            load_image(tmp_path / name, 8, budget)
        else:
            with pytest.raises(ValueError, match="decoding it takes"):
                load_image(tmp_path / name, 8, budget)


def test_images_that_do_not_fit_together_are_decoded_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.new("RGB", (100, 100)).save(path)
    budget = MemoryBudget(100 * 100 * 8 + 1)
    with ThreadPoolExecutor(8) as pool:
        with budget.taken(2):
            waiting = [pool.submit(load_image, path, 8, budget) for _ in range(8)]
            time.sleep(0.1)
            assert not any(future.done() for future in waiting)
        for future in waiting:
            assert future.result(timeout=10).shape == (8, 8, 3)


def test_a_lack_of_memory_is_not_the_images_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: object) -> NoReturn:
        raise MemoryError

    path = tmp_path / "image.png"
    Image.new("RGB", (10, 10)).save(path)
    monkeypatch.setattr(ImageOps, "fit", fit)
    with pytest.raises(EraError, match=f"not enough memory to decode {path}"):
        load_image(path, 8)
