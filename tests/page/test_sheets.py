from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from era_cli.page import sheets
from era_cli.results import Images
from tests.reports.support import pictures


def decoded(address: str) -> Images:
    kind, _, content = address.partition(";base64,")
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert kind == f"data:image/{(image.format or '').lower()}"
        return np.asarray(image.convert("RGB"))


def tile(images: sheets.Sheets, place: int) -> Images:
    """The image at `place`, cut out as the page does it."""
    sheet, rest = divmod(place, sheets.IN_A_SHEET)
    row, column = divmod(rest, sheets.COLUMNS)
    side = images.side
    return decoded(images.addresses[sheet])[row * side : (row + 1) * side, column * side : (column + 1) * side]


def test_small_images_keep_every_pixel() -> None:
    images = pictures(sheets.IN_A_SHEET + 20, 12)
    encoded = sheets.encode(images.__getitem__, len(images), 10**7)
    assert (encoded.count, encoded.side, len(encoded.addresses)) == (len(images), 12, 2)
    for place in (0, 17, sheets.IN_A_SHEET - 1, sheets.IN_A_SHEET, len(images) - 1):
        assert (tile(encoded, place) == images[place]).all()


def test_large_images_are_scaled_down_and_stay_recognisable() -> None:
    image = np.zeros((1, 300, 300, 3), np.uint8)
    image[0, :150] = (200, 40, 90)
    encoded = sheets.encode(image.__getitem__, 1, 10**7)
    shown = tile(encoded, 0).astype(int)
    assert encoded.side == sheets.LARGEST
    assert np.abs(shown[10:50, 10:100] - (200, 40, 90)).max() < 12
    assert shown[80:, 10:100].max() < 12


@pytest.mark.parametrize(("room", "count"), [(10**7, 400), (130_000, 256), (1, 128)])
def test_they_fit_into_the_room(room: int, count: int) -> None:
    images, parts = pictures(400, 10), []

    def read(some: slice) -> Images:
        parts.append(len(images[some]))
        return images[some]

    encoded = sheets.encode(read, len(images), room)
    assert max(parts) <= sheets.IN_A_SHEET  # never all in memory
    assert sum(parts) <= count + sheets.IN_A_SHEET
    assert encoded.count == count
    assert len(encoded.addresses) == -(-count // sheets.IN_A_SHEET)
    assert room == 1 or sum(map(len, encoded.addresses)) <= room
