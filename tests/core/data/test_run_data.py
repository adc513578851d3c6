from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from era_cli.core.data import cifar10, digits, run_data, sources
from era_cli.core.fit import start
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
    for told in (tmp_path, tmp_path / "gone"):
        moved = replace(document, data=replace(document.data, data_dir=str(told)))
        run_data.load(Run(finished_run), moved, data_dir=other, listener=Listener())
    assert asked == [other or tmp_path, other]


def test_a_folder_of_run_json_without_the_data_is_not_used(document: RunDocument, tmp_path: Path) -> None:
    """They would be downloaded into it."""
    stranger = replace(document, data=replace(document.data, data_dir=str(tmp_path)))
    assert run_data.remembered_dir(stranger) is None
    folder = with_cifar10(tmp_path)
    assert run_data.remembered_dir(stranger) == tmp_path
    (folder / "test_batch").unlink()
    assert run_data.remembered_dir(stranger) is None


@pytest.mark.parametrize("named", [True, False])
def test_fit_stores_the_data_dir(named: bool, tmp_path: Path) -> None:
    with_cifar10(tmp_path)
    asked = replace(request(tmp_path / "runs"), data_dir=tmp_path if named else None)
    document = start.prepare(asked, Listener()).run.read()
    assert document.data.data_dir == (str(tmp_path) if named else None)
    assert run_data.remembered_dir(document) == (tmp_path if named else None)
