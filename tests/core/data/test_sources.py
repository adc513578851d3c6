from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from era_cli.core.data import digits, sources
from era_cli.core.data.dataset import Dataset
from era_cli.errors import EraError, UsageError
from era_cli.listener import Listener
from tests.core.data.support import write_image

DIGITS = tuple("0123456789")


def load_all(source: str, classes: tuple[str, ...]) -> Dataset:
    return sources.load_all(source, classes, image_size=8, data_dir=None, listener=Listener())


def test_a_named_source_is_labelled_by_the_runs_classes() -> None:
    classes = ("none", *reversed(DIGITS))
    dataset, plain = load_all("digits", classes), digits.load(8)
    assert dataset.classes == classes
    assert [classes[label] for label in dataset.labels] == [DIGITS[label] for label in plain.labels]
    assert np.array_equal(dataset.images, plain.images)
    assert np.array_equal(dataset.test, plain.test)
    assert np.array_equal(dataset.source_index(dataset.test), plain.source_index(plain.test))


def test_a_class_unknown_to_the_run_is_refused() -> None:
    with pytest.raises(EraError, match="'7'") as caught:
        load_all("digits", tuple("012345689"))
    assert not isinstance(caught.value, UsageError)


def test_a_folder_is_taken_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "pets/dog/0.png", 10)
    write_image(tmp_path / "pets/cat/0.png", 200)
    monkeypatch.chdir(tmp_path)
    dataset = load_all("pets", ("dog", "cat"))
    assert dataset.source == str(tmp_path / "pets")
    assert dataset.labels.tolist() == [0, 1]
    assert dataset.images[:, 0, 0, 0].tolist() == [10, 200]


def test_an_absent_source_is_wrong_usage_with_a_guess() -> None:
    with pytest.raises(UsageError, match="did you mean digits"):
        load_all("digit", DIGITS)


def test_resolved_names_a_source_as_datasets_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "digits").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    pets = str(tmp_path / "pets")
    for spelled in ("pets", "./pets/", "digits/../pets", "~/pets", "link", pets):
        assert sources.resolved(spelled) == pets
    assert sources.resolved("digits") == "digits"  # the bundled ones, whatever the folder holds
    assert sources.resolved("./digits") == str(tmp_path / "digits")
    assert sources.resolved(str(tmp_path / "gone")) == str(tmp_path / "gone")


def test_an_empty_source_is_wrong_usage() -> None:
    for check in (
        lambda: sources.check(""),
        lambda: sources.check_all("", DIGITS),
        lambda: load_all("", DIGITS),
    ):
        with pytest.raises(UsageError, match="--data is empty"):
            check()
