"""The common end of the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from era_cli.commands import deliver
from era_cli.errors import EraError
from era_cli.runs.document import SCHEMA


def show(console: Any, facts: Any) -> None:
    for name, fact in facts:
        console.print(f"{name}: {fact}")
    console.print("the result")


def hand_over(folder: Path, *, quiet: bool = False, as_json: bool = False, **more: Any) -> None:
    (folder / "kept.npz").touch()
    files = [
        deliver.json_file(folder / "new" / "all.json"),
        deliver.figure(folder / "new" / "figure.png", lambda: Figure(figsize=(1, 1))),
        deliver.File(folder / "kept.npz"),
    ]
    deliver.deliver(
        {"result": 1},
        show,
        more.get("files", files),
        facts=[("run", "mine")],
        headline="1 result",
        then="era eval",
        quiet=quiet,
        as_json=as_json,
    )


def test_everything_is_printed_written_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hand_over(tmp_path)
    paths = [str(tmp_path / name) for name in ("new/all.json", "new/figure.png", "kept.npz")]
    assert capsys.readouterr().out.splitlines() == [
        "run: mine",
        "the result",
        paths[1],
        f"also in {tmp_path}: new/all.json, kept.npz",
        "Next: era eval",
    ]
    assert all(Path(path).is_file() for path in paths)
    assert json.loads(Path(paths[0]).read_text()) == {"schema": SCHEMA, "result": 1, "files": paths}


def test_quiet_prints_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hand_over(tmp_path, quiet=True)
    assert capsys.readouterr().out == "1 result\n"
    assert (tmp_path / "new" / "figure.png").is_file()


def test_json_is_the_document_that_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hand_over(tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "new" / "all.json").read_text())


def test_the_result_is_printed_even_if_writing_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EraError, match="cannot be written"):
        hand_over(tmp_path, files=[deliver.json_file(tmp_path / "file" / "all.json")])
    assert "the result" in capsys.readouterr().out
