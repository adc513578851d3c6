"""The command that is named as the next one."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from era_cli.commands import next_step


def test_defaults_are_left_out() -> None:
    assert next_step.line("eval", run="latest", split=None, gpus="auto", runs_dir=Path("runs")) == "era eval"


def test_options_are_spelled_and_quoted_for_a_shell() -> None:
    line = next_step.line(
        "fit", data=Path("my photos"), max_lr=0.123456789, batch_size=16, nesterov=False, whiten=True, run=["a", "b"]
    )
    assert line == (
        "era fit --data 'my photos' --max-lr 0.123456789 --batch-size 16 --no-nesterov --whiten --run a --run b"
    )
    assert shlex.split(line)[3] == "my photos"


def test_a_data_directory_of_the_environment_needs_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ERA_DATA_DIR", raising=False)
    assert next_step.line("eval", data_dir=Path()) == "era eval --data-dir ."
    monkeypatch.setenv("ERA_DATA_DIR", "data")
    assert next_step.line("eval", data_dir=Path("data")) == "era eval"
    assert next_step.line("eval", data_dir=Path("more")) == "era eval --data-dir more"
