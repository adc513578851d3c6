from __future__ import annotations

import dataclasses
import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from era_cli.core.data import cifar10, digits, run_data, sources
from era_cli.core.fit import start
from era_cli.errors import EraError
from era_cli.listener import Listener
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run
from tests.support import request


@pytest.fixture
def document(finished_run: Path) -> RunDocument:
    return Run(finished_run).read()


def test_the_splits_are_those_of_the_run(finished_run: Path, document: RunDocument) -> None:
    data = run_data.load(Run(finished_run), document, data_dir=None, listener=Listener())
    for name, indices in (("train", data.train), ("val", data.val), ("test", data.dataset.test)):
        assert data.dataset.class_counts(indices).tolist() == list(
            dataclasses.asdict(document.data)["class_counts"][name]
        )
    assert not set(data.train) & set(data.val)


def with_cifar10(root: Path) -> Path:
    """The folder of CIFAR-10 under `root`, with a file of each name."""
    folder = root / cifar10.FOLDER
    folder.mkdir()
    for name in cifar10.PUBLISHED.files:
        (folder / name).touch()
    return folder


def with_data_dir(document: RunDocument, data_dir: Path, source: str = "cifar10") -> RunDocument:
    """The document of a run whose data were in `data_dir`."""
    return replace(document, data=replace(document.data, source=source, data_dir=str(data_dir)))


@pytest.mark.parametrize("named", [True, False])
def test_a_run_remembers_its_data_dir(
    named: bool, finished_run: Path, document: RunDocument, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path | None] = []

    def load(source: str, *, data_dir: Path | None, image_size: int, **_: Any) -> Any:
        asked.append(data_dir)
        return digits.load(image_size)

    monkeypatch.setattr(sources, "load", load)
    with_cifar10(tmp_path)
    other = tmp_path / "other" if named else None
    run_data.load(Run(finished_run), with_data_dir(document, tmp_path), data_dir=other, listener=Listener())
    assert asked == [other or tmp_path]


@pytest.mark.parametrize("source", [None, "cifar10"])
@pytest.mark.parametrize("lost", ["the folder", "a file", "the disk", "permission"])
def test_what_was_in_the_data_dir_is_not_downloaded_elsewhere(
    source: str | None, lost: str, document: RunDocument, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_file(path: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    where, run = tmp_path / "usb", Run(tmp_path / "run")
    where.mkdir()
    folder = with_cifar10(where)
    moved = with_data_dir(document, where)
    run_data.check(run, moved, source=source, data_dir=None)
    if lost == "a file":
        (folder / "test_batch").unlink()
    elif lost == "permission":  # for root, whom none stops, as for anybody else
        monkeypatch.setattr(Path, "is_file", is_file)
        monkeypatch.setattr(os.path, "isfile", lambda _: False)
    else:
        shutil.rmtree(folder if lost == "the folder" else where)
    with pytest.raises(EraError) as caught:
        run_data.load(run, moved, source=source, data_dir=None, listener=Listener())
    state = "is missing" if lost == "the disk" else "no longer holds all of its files"
    assert str(caught.value).startswith(f"the CIFAR-10 of {run.path} was in {where}, which {state}: put it back, or")
    assert "--data-dir" in str(caught.value)
    run_data.check(run, moved, source=source, data_dir=tmp_path)  # said by a person


def test_a_data_dir_that_the_data_do_not_need_may_be_gone(document: RunDocument, tmp_path: Path) -> None:
    for needless in (
        with_data_dir(document, tmp_path / "gone", "digits"),
        replace(document, data=replace(document.data, source="cifar10", data_dir=None)),  # the user's cache
    ):
        run_data.check(Run(tmp_path), needless, data_dir=None)


@pytest.mark.parametrize("named", [True, False])
def test_fit_stores_the_data_dir(named: bool, tmp_path: Path) -> None:
    asked = replace(request(tmp_path / "runs"), data_dir=tmp_path if named else None)
    document = start.prepare(asked, Listener()).run.read()
    assert document.data.data_dir == (str(tmp_path) if named else None)
