"""Wrong values of options, and how help shows options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import invoke, the_error

WRONG = [
    ("eval --split Tset", "--split is 'Tset', but must be test, test-all, val or train; did you mean test?"),
    ("eval --tta mirror", "--tta is 'mirror', but must be none, flip or flip-shift"),
    ("gradcam --method scorecam", "--method scorecam is no longer available: use --method gradcam"),
    ("gradcam --smooth both", "--smooth both is no longer available: use --smooth aug"),
    ("misclassified --n few", "--n is 'few', but must be a whole number of at least 1"),
    ("misclassified --columns 0", "--columns is '0', but must be a whole number of at least 1"),
    ("gradcam --alpha nan", "--alpha is 'nan', but must be a number in [0, 1]"),
    ("gradcam --alpha 1.5", "--alpha is '1.5', but must be a number in [0, 1]"),
    ("fit --epochs 1.5", "--epochs is '1.5', but must be a whole number"),
    ("fit --seeds 2000", "--seeds is '2000', but must be a whole number in [1, 1000]"),
    ("fit --optimizer SDG", "optimizer is 'SDG', but must be one of sgd, adam, muon (--optimizer); did you mean sgd?"),
    ("fit --recipe sesion12", "--recipe takes default, fast, session12, session10; did you mean session12?"),
    ("fit --max-lr Auto", "--max-lr is 'Auto', but must be a number or auto; did you mean auto?"),
]


@pytest.mark.parametrize(("line", "says"), WRONG, ids=[line for line, _ in WRONG])
def test_a_wrong_value_is_one_sentence(line: str, says: str) -> None:
    assert the_error(invoke(*line.split(), code=2)).endswith(says)


@pytest.mark.parametrize(("given", "meant"), [("CIFAR10", "cifar10"), ("Digits", "digits")])
def test_data_in_other_letters_gets_a_hint(given: str, meant: str) -> None:
    assert the_error(invoke("fit", f"--data={given}", code=2)).endswith(f"did you mean {meant}?")


@pytest.mark.parametrize(
    "line", ["fit --data digits --data-dir", "eval --data-dir", "lr-find --runs-dir", "eval --out"]
)
def test_a_loop_of_links_is_wrong_usage(line: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / "loop" / "figure.png" if "--out" in line else tmp_path / "loop"
    assert the_error(invoke(*line.split(), str(path), code=2)).endswith("is a broken link")


@pytest.mark.parametrize("command", ["", "fit", "lr-find", "eval", "misclassified", "gradcam", "plot-curves"])
def test_flags_look_like_flags_in_help(command: str) -> None:
    shown = invoke(*command.split(), "--help", COLUMNS="160").stdout
    assert not re.search(r"<\w+\W", shown)  # types as Typer writes them
    assert re.search(r"--(help|json)\s+(-h|-q)?\s+[A-Z]", shown)


@pytest.mark.parametrize("command", ["eval", "misclassified", "gradcam"])
def test_reading_commands_have_no_training_panel(command: str) -> None:
    shown = invoke(command, "--help", COLUMNS="160").stdout
    assert "--gpus" in shown
    assert "Training" not in shown
