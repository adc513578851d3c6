from __future__ import annotations

import os
from pathlib import Path

import pytest

from era_cli.core.evaluation import own_images
from era_cli.errors import EraError, UsageError
from tests.core.data.support import write_image


def test_images_elsewhere_may_be_links(tmp_path: Path) -> None:
    write_image(tmp_path / "photo.png", 50)
    (tmp_path / "link.png").symlink_to("photo.png")
    files = [tmp_path / "photo.png", tmp_path / "link.png"]
    assert own_images.load(files, 8).shape == (2, 3, 8, 8)
    large = own_images.load_large(files, 64)
    assert large is not None
    assert large.shape == (2, 10, 10, 3)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "drawing.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    files = [tmp_path / "pipe.jpg", tmp_path / "drawing.jpg", Path("/dev/zero")]
    with pytest.raises(EraError) as caught:
        own_images.load(files, 8)
    for fault in ("pipe.jpg cannot be read as an image (it is a named pipe)", "/dev/zero", "(cannot identify image"):
        assert fault in str(caught.value)


def test_what_is_absent_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to("nothing.png")
    for path, sentence in ((tmp_path, "is a folder"), (tmp_path / "gone.png", "there is no image")):
        with pytest.raises(UsageError, match=sentence):
            own_images.load([path], 8)
