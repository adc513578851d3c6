"""The commands on a run whose class folders are called as no one should call them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from era_cli.core.fit import start
from era_cli.core.networks.checkpoint import read, write
from era_cli.listener import Listener
from era_cli.runs import artifacts
from era_cli.runs.run import Run
from tests.support import ESCAPE, as_json, copied, invoke, request, the_error, too_wide

FORMULAS = ("=cmd|'calc'!A0", "@SUM(1,2)", '-1+"1"')  # a spreadsheet would compute them
ODD = (r"$\frac{$", "[bold]dog[", "\"quoted' `name`", "x" * 60, "猫と犬", f"{ESCAPE}[31mred", "%s {0} \\n", "école")


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images of noise in these classes."""
    base = tmp_path_factory.mktemp("odd")
    draw = np.random.default_rng(0)
    for name in (*FORMULAS, *ODD):
        (base / "images" / name).mkdir(parents=True)
        for place in range(10):
            noise = Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8))
            noise.save(base / "images" / name / f"+{place}, a.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(base / "cache"))
        asked = request(base / "runs", source=str(base / "images"), epochs=1, batch_size=8, limit_train=None)
        fit = start.prepare(asked, Listener())
        fit.train(Listener())
    return fit.run.path


@pytest.fixture
def run(odd_run: Path, tmp_path: Path) -> Run:
    return copied(odd_run, tmp_path / "runs" / "odd")


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_eval_shows_and_draws_them(run: Run, tmp_path: Path, suffix: str) -> None:
    done = invoke("eval", "--out", f"x.{suffix}", COLUMNS="100")
    assert ESCAPE not in done.output
    for name in (*FORMULAS, *ODD[:3], "猫と犬", "\ufffd[31mred", "%s {0} \\n", "école"):
        assert name in done.stdout
    assert too_wide(done.stdout, columns=100) == []
    told = json.loads((run.path / "eval-test.json").read_text(encoding="utf-8"))
    assert set(told["result"]["classes"]) == {*FORMULAS, *ODD}
    assert told["result"]["count"] == run.read().data.counts.test
    assert (tmp_path / f"x-reliability.{suffix}").stat().st_size > 0


def test_a_comparison_shows_and_writes_them(run: Run, odd_run: Path, tmp_path: Path) -> None:
    other = copied(odd_run, tmp_path / "runs" / "worse")
    checkpoint = other.checkpoints / artifacts.BEST
    state = read(checkpoint)
    (last,) = [name for name in state["state_dict"] if name.endswith("linear.weight")]
    state["state_dict"][last] = -state["state_dict"][last]  # so that many images flip
    checkpoint.unlink()
    write({name: state[name] for name in ("state_dict", "global_step")}, checkpoint)
    done = invoke("compare", "odd", "worse", COLUMNS="100")
    assert ESCAPE not in done.output
    assert too_wide("".join(done.stdout.partition("No difference")[:1]), columns=100) == []
    with (other.path / "compare-with-odd.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert rows
    for row in rows:
        assert row["file"].startswith(("'", *'$["x猫\x1b%é'))


def test_formulas_are_text_in_the_table(run: Run) -> None:
    told = as_json("misclassified", "--n=1")["result"]
    with (run.path / "misclassified.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == told["count"] > 0
    seen = set()
    for row, image in zip(rows, told["images"], strict=True):
        for column in ("file", "true", "predicted"):
            text = image[column]
            assert row[column] == (f"'{text}" if text.startswith(("=", "@", "-", "+")) else text)
            seen.add(text)
        assert (Path(run.read().data.source) / image["file"]).is_file()
    assert seen & set(FORMULAS)


def test_a_formula_can_be_asked_for(run: Run) -> None:
    told = as_json("misclassified", "--n=1", f"--true={FORMULAS[1]}")
    assert {image["true"] for image in told["result"]["images"]} <= {FORMULAS[1]}
    assert told["result"]["true"] == FORMULAS[1]
    assert all(Path(file).is_file() for file in told["files"])
    assert "did you mean @SUM(1,2)?" in the_error(invoke("misclassified", "--true=@SUM(1,3)", code=2))
