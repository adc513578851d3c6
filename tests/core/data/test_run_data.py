from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from era_cli.core.data import digits, run_data, sources
from era_cli.core.fit import start
from era_cli.listener import Listener
from era_cli.runs.run import Run
from tests.support import request


@pytest.fixture
def document(finished_run: Path) -> dict[str, Any]:
    return Run(finished_run).read()


def test_the_splits_are_those_that_the_run_was_trained_with(finished_run: Path, document: dict[str, Any]) -> None:
    data = run_data.load(Run(finished_run), document, data_dir=None, listener=Listener())
    for name, part in (("train", data.train), ("val", data.val), ("test", data.dataset.test)):
        counts = np.bincount(data.dataset.labels[part], minlength=10)
        assert counts.tolist() == document["data"]["class_counts"][name]
    assert not set(data.train) & set(data.val)


@pytest.mark.parametrize("named", [True, False])
def test_the_run_remembers_where_its_data_lay_unless_another_place_is_named(
    named: bool, finished_run: Path, document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path | None] = []

    def load(source: str, *, data_dir: Path | None, image_size: int, **_: Any) -> Any:
        asked.append(data_dir)
        return digits.load(image_size)

    monkeypatch.setattr(sources, "load", load)
    document["data"]["data_dir"] = str(tmp_path)
    other = tmp_path / "other" if named else None
    run_data.load(Run(finished_run), document, data_dir=other, listener=Listener())
    document["data"]["data_dir"] = str(tmp_path / "gone")
    run_data.load(Run(finished_run), document, data_dir=other, listener=Listener())
    assert asked == [other or tmp_path, other]


@pytest.mark.parametrize("named", [True, False])
def test_fit_tells_the_run_where_its_data_lay(named: bool, tmp_path: Path) -> None:
    asked = replace(request(tmp_path / "runs"), data_dir=tmp_path if named else None)
    document = start.prepare(asked, Listener()).run.read()
    assert document["data"]["data_dir"] == (str(tmp_path) if named else None)
    assert run_data.remembered_dir(document) == (tmp_path if named else None)
