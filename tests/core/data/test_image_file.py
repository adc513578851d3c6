from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from era_cli.core.data.image_file import load_image


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
