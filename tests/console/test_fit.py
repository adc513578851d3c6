from __future__ import annotations

import dataclasses
import io
import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from era_cli.console.fit import WIDE, FitProgress, headline, print_seeds, seeds_headline
from era_cli.console.terminal import SteadyConsole, record_console
from era_cli.recipes import Recipe
from era_cli.results import FitPlan, LayerRow, Samples, SeedResults
from tests.console.support import HOSTILE, RESULT, ROW, closed_pipe, read_until, seeds, terminal

LAYERS = (
    LayerRow(
        name="prep",
        kind="ConvBlock",
        output_shape=(64, 32, 32),
        kernel="3x3",
        parameters=1_856,
        multiply_adds=1_769_472,
    ),
    LayerRow(
        name="linear", kind="Linear", output_shape=(10,), kernel="", parameters=6_571_274, multiply_adds=377_487_360
    ),
)
LEAVES = tuple(dataclasses.replace(layer, name=f"{layer.name}.leaf") for layer in LAYERS)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def plan(classes: tuple[str, ...] = ("cat", "dog"), **changes: object) -> FitPlan:
    counts = np.arange(1, len(classes) + 1) * 1_000
    example = FitPlan(
        run=Path("runs/pets-1"),
        recipe=Recipe(epochs=24),
        source="pets",
        classes=classes,
        class_counts={"train": counts, "val": counts // 10, "test": counts // 5},
        test_total=int((counts // 5).sum()),
        image_size=32,
        layers=LAYERS,
        leaf_layers=LEAVES,
        device="a processor",
        precision="fp32",
        steps_per_epoch=5,
        steps_done=0,
        rows_done=(),
        samples=Samples(images=np.zeros((1, 8, 8, 3), np.uint8), labels=np.zeros(1, np.int64), classes=classes),
        sweep=None,
        notes=(),
    )
    return dataclasses.replace(example, **changes)  # type: ignore[arg-type]


def shown(plan: FitPlan, *, width: int = 100, every_layer: bool = False) -> str:
    """The record of a whole run: header, one epoch, result."""
    stream = io.StringIO()
    progress = FitProgress(SteadyConsole(stream, width=width), every_layer=every_layer)
    progress.planned(plan)
    progress.epoch_started(3, 0)
    progress.step_done()
    progress.validating()
    progress.epoch_ended(ROW, best=True)
    progress.show_result(RESULT, [Path("runs/pets-1/run.json")])
    return stream.getvalue()


def test_training_continues_without_a_reader() -> None:
    with closed_pipe() as stream:
        progress = FitProgress(SteadyConsole(stream), every_layer=True)
        progress.planned(plan())
        progress.epoch_ended(ROW, best=True)
        progress.show_result(RESULT, [Path("run.json")])


def test_an_ascii_stream_shows_what_it_can() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    progress = FitProgress(SteadyConsole(stream, width=80))
    progress.planned(plan(("猫", "собака", "dog")))
    progress.epoch_ended(ROW, best=True)
    progress.show_result(RESULT, [])
    text = raw.getvalue().decode("ascii")
    assert "dog" in text
    assert "70.00%" in text


def test_the_record_has_everything() -> None:
    text = shown(plan())
    for piece in (
        "runs/pets-1",
        "3,000 train / 300 val / 600 test, 2 classes, 32x32 px",
        "6,573,130 parameters",
        "a processor, fp32",
        "24 epochs of 5 steps, batch size 128, seed 0",
        "Images per class",
        "prep",
        "64x32x32",
    ):
        assert piece in text, piece
    assert re.search(r"^ *dog +2,000 +200 +400 *$", text, re.MULTILINE)
    assert re.search(r"^ *total +3,000 +300 +600 *$", text, re.MULTILINE)
    assert re.search(r"^ *epoch +train loss +acc +val loss +acc +lr +images/s +time *$", text, re.MULTILINE)
    assert re.search(r"^ *3/24 +1\.2346 +61\.73% +0\.9877 +70\.00% +0\.26 +1,23[45] +1:23 best$", text, re.MULTILINE)
    assert re.search(r"^best epoch +3, validation 70\.00% *$", text, re.MULTILINE)
    assert re.search(r"^test accuracy +68\.75% \(6,875 of 10,000\), loss 1\.0123 *$", text, re.MULTILINE)
    assert re.search(r"^wall time +1:02:03 *$", text, re.MULTILINE)
    assert text.endswith("runs/pets-1/run.json\n")


def test_every_layer_is_listed_on_request() -> None:
    assert "prep.leaf" not in shown(plan())
    assert "prep.leaf" in shown(plan(), every_layer=True)


def test_a_resumed_run_says_where_it_resumes() -> None:
    assert "resumed" not in shown(plan())
    assert re.search(r"resumed +after 2 epochs *$", shown(plan(steps_done=10)), re.MULTILINE)
    assert re.search(r"resumed +after 2 epochs and 3 steps *$", shown(plan(steps_done=13)), re.MULTILINE)


def test_without_validation_the_cells_are_dashes() -> None:
    stream = io.StringIO()
    progress = FitProgress(SteadyConsole(stream, width=80))
    progress.planned(plan())
    progress.epoch_ended(dataclasses.replace(ROW, val_loss=None, val_acc=None), best=True)
    progress.show_result(dataclasses.replace(RESULT, val_acc=None, val_loss=None), [])
    text = stream.getvalue()
    assert re.search(r"^ *3/24 +1\.2346 +61\.73% +- +- +1:23$", text, re.MULTILINE)  # and nothing is called best
    assert "3, the last (no validation split)" in text


def test_more_than_twenty_classes_are_shown_as_a_range() -> None:
    twenty, more = (tuple(f"class-{index}" for index in range(count)) for count in (20, 21))
    assert "class-19" in shown(plan(twenty))
    text = shown(plan(more))
    assert "class-" not in text
    assert re.search(r"^ *fewest of 21 +1,000 +100 +200 *$", text, re.MULTILINE)
    assert re.search(r"^ *most +21,000 +2,100 +4,200 *$", text, re.MULTILINE)


def test_quiet_shows_nothing_until_the_headline(capsys: pytest.CaptureFixture[str]) -> None:
    progress = FitProgress(None, every_layer=True)
    progress.planned(plan())
    with progress.work("decoding", 10) as advance:
        advance(10)
    progress.epoch_started(1, 0)
    progress.step_done()
    progress.validating()
    progress.epoch_ended(ROW, best=True)
    progress.show_result(RESULT, [Path("run.json")])
    assert capsys.readouterr() == ("", "")
    assert headline(RESULT) == "test accuracy 68.75% (6,875 of 10,000)"
    assert seeds_headline(seeds(0.8, 0.9)) == "mean test accuracy 85.00%, standard deviation 7.07 points (2 seeds)"


def test_results_go_to_stdout_and_messages_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    progress = FitProgress(record_console())
    progress.note("the disk is slow")
    with progress.work("decoding", 1_234):
        pass
    assert capsys.readouterr() == ("", "Note: the disk is slow\ndecoding: 1,234 images\n")
    progress.epoch_ended(ROW, best=False)
    out, err = capsys.readouterr()
    assert "70.00%" in out
    assert err == ""


def test_the_record_moves_to_stderr_for_json(capsys: pytest.CaptureFixture[str]) -> None:
    progress = FitProgress(record_console(to_stderr=True))
    progress.planned(plan())
    progress.epoch_ended(ROW, best=True)
    progress.show_result(RESULT, [Path("run.json")])
    out, err = capsys.readouterr()
    assert out == ""
    assert "70.00%" in err


@pytest.mark.parametrize("quiet", [False, True])
def test_quiet_hides_notes_but_no_warnings(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    record = None if quiet else SteadyConsole(io.StringIO())
    FitProgress(record).planned(plan(notes=("a slow machine",), warnings=("2 images cannot be read",)))
    notes = [] if quiet else ["Note: a slow machine"]
    assert capsys.readouterr().err.splitlines() == [*notes, "Warning: 2 images cannot be read"]


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    def colours() -> list[str]:
        stream = io.StringIO()
        FitProgress(SteadyConsole(stream, width=80, force_terminal=True)).epoch_ended(ROW, best=True)
        return re.findall(r"\x1b\[[0-9;]*3[0-7]m", stream.getvalue())

    monkeypatch.setenv("TERM", "xterm")
    assert colours()
    monkeypatch.setenv("NO_COLOR", "1")
    assert colours() == []


@pytest.mark.parametrize("classes", [HOSTILE, tuple(f"c{index}" for index in range(100))])
def test_every_line_fits_in_60_columns(classes: tuple[str, ...]) -> None:
    longest = plan(
        classes, source="a-folder-with-a-long-name/" * 4, device="A Processor With a Long Name @ 3.14 GHz " * 2
    )
    for line in shown(longest, width=60, every_layer=True).splitlines():
        assert cell_len(line) <= 60, line


def test_the_longest_epoch_row_fits_in_60_columns() -> None:
    stream = io.StringIO()
    progress = FitProgress(SteadyConsole(stream, width=60))
    progress.planned(plan(recipe=Recipe(epochs=9_999)))
    longest = dataclasses.replace(ROW, epoch=9_999, train_acc=1.0, val_acc=1.0, val_loss=123.4, seconds=35_999)
    progress.epoch_ended(longest, best=True)
    last = stream.getvalue().splitlines()[-1]
    assert last.split() == ["9999/9999", "1.2346", "100.00%", "123.4000", "100.00%", "9:59:59", "best"]
    assert len(last) <= 60


def test_a_wide_row_lies_under_its_heading() -> None:
    lines = shown(plan(), width=WIDE).splitlines()
    place = next(index for index, line in enumerate(lines) if "train loss" in line)
    heading, row = lines[place : place + 2]
    for match in re.finditer(r"train loss|acc|val loss|lr|images/s|time", heading):
        last, beyond = row[match.end() - 1], row[match.end() : match.end() + 1].strip()
        assert (last != " ", beyond) == (True, ""), match[0]


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.text(st.characters(codec=None), max_size=60), min_size=1, max_size=5))
@example(names=list(HOSTILE))
def test_no_class_name_sends_control_characters(names: list[str]) -> None:
    text = shown(plan(tuple(names), source=names[0], run=Path("runs") / "x"), width=60)
    assert {char for char in text if unicodedata.category(char) in ("Cc", "Cs", "Cf")} <= {"\n"}
    for line in text.splitlines():
        assert cell_len(line) <= 60, line


def test_a_row_replaces_the_bar() -> None:
    stream = io.StringIO()
    with terminal() as person:
        progress = FitProgress(SteadyConsole(stream, width=80))
        progress.planned(plan())
        before = len(stream.getvalue())
        progress.epoch_started(3, 2)
        progress.step_done()
        assert len(stream.getvalue()) == before  # the bar is no part of the record
        progress.epoch_ended(ROW, best=False)
        progress.note("the end")
        seen = read_until(person, "the end")
    assert "epoch 3/24" in seen
    assert "2/5" in seen
    assert re.search(r"\x1b\[2K(\x1b\[[?0-9;]*[a-z])*Note: the end$", seen)  # the bar's line is cleared
    assert "70.00%" in stream.getvalue()


def test_a_closed_terminal_does_not_stop_training() -> None:
    stream = io.StringIO()
    with terminal() as person:
        progress = FitProgress(SteadyConsole(stream, width=80))
        progress.planned(plan())
        progress.epoch_started(1, 0)
        os.close(person)
        progress.step_done()
        progress.validating()
        progress.epoch_ended(ROW, best=False)
        progress.note("still here")
        progress.epoch_started(2, 0)
        progress.stop()
    assert "70.00%" in stream.getvalue()


def test_time_left_ignores_steps_before_resuming(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    progress = FitProgress(SteadyConsole(io.StringIO()))
    progress.planned(plan(recipe=Recipe(epochs=4), steps_done=10))  # 20 steps in total, 10 done before
    assert progress.seconds_left is None
    for _ in range(5):
        progress.step_done()
    clock[0] += 10
    assert progress.seconds_left == pytest.approx(10.0)  # 5 steps took 10 s, 5 are left


def test_a_resumed_run_shows_its_earlier_epochs() -> None:
    done = dataclasses.replace(ROW, epoch=2, train_loss=1.2345)
    lines = [line for line in shown(plan(steps_done=10, rows_done=(done,))).splitlines() if "/24" in line]
    assert [line.split()[0] for line in lines] == ["2/24", f"{ROW.epoch}/24"]
    assert "1.2345" in lines[0]


# Several seeds


def shown_seeds(results: SeedResults, width: int = 80) -> str:
    stream = io.StringIO()
    print_seeds(SteadyConsole(stream, width=width, force_terminal=False), results)
    return stream.getvalue()


def test_mean_and_deviation_follow_the_runs() -> None:
    lines = [line.split() for line in shown_seeds(seeds(0.80, 0.90, 0.94)).splitlines() if line.split()]
    assert lines[0] == ["3", "seeds"]
    assert lines[3:6] == [
        ["runs/digits-0", "7", "90.00%", "80.00%", "1:01"],
        ["runs/digits-1", "8", "90.00%", "90.00%", "1:01"],
        ["runs/digits-2", "9", "90.00%", "94.00%", "1:01"],
    ]
    assert lines[6:] == [["mean", "88.00%"], ["standard", "deviation", "7.21", "points"]]


def test_runs_without_validation_have_dashes() -> None:
    assert "runs/digits-0 7 - 80.00% 1:01" in " ".join(shown_seeds(seeds(0.8, 0.9, val_acc=None)).split())


@pytest.mark.parametrize("width", [50, 60])
def test_a_narrow_terminal_cuts_no_number(width: int) -> None:
    text = shown_seeds(seeds(0.8, 0.9), width)
    assert {"80.00%", "90.00%", "85.00%", "7.07 points"} <= {
        word for line in text.splitlines() for word in (line.split("  ") + line.split()) for word in [word.strip()]
    }
    assert max(map(len, text.splitlines())) <= width
