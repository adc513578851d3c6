"""What the commands have in common: refusals, quiet, narrow terminals, `--out`."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from era_cli.runs.run import Run
from tests.support import TINY_OPTIONS, digit_folder, files, invoke, the_error, too_wide, write_digit

READING = ("eval", "misclassified --n=1", "gradcam --n=1 --layer=layer1", "report")
FIT = " ".join(("fit", *TINY_OPTIONS))
LR_FIND = " ".join(("lr-find", *TINY_OPTIONS, "--steps=3"))
WRONG = [
    ("eval --out x.jpeg", ".png, .svg or .pdf"),
    ("eval --out x", ".png, .svg or .pdf"),
    ("eval --split test --data digits", "--split"),
    ("eval --split all", "--split"),
    ("eval --tta mirror", "--tta"),
    ("eval --gpus many", "--gpus"),
    ("eval --data nowhere", "'nowhere'"),
    ("misclassified --true 33", "--true is '33', but must be 0, 1, 2, 3, 4, 5, 6, 7, 8 or 9; did you mean 3?"),
    ("misclassified --predicted cat", "--predicted is 'cat', but must be 0, 1, 2"),
    ("misclassified --true 3 --predicted 3", "is not misclassified"),
    ("misclassified --n 0", "--n"),
    ("misclassified --columns 0", "--columns"),
    ("misclassified --seed -1", "--seed"),
    ("misclassified --sort random --seed 18446744073709551616", "a whole number in [0, 4294967295]"),
    ("misclassified --sort entropy", "--sort"),
    ("misclassified --out x.csv", ".png, .svg or .pdf"),
    ("gradcam --which correct --index 3", "--index"),
    ("gradcam --index 1797", "--index"),
    ("gradcam --index=3,-1", "--index"),
    ("gradcam --index x", "--index"),
    ("gradcam --index=", "--index"),
    ("gradcam --image x.png --which all", "--which"),
    ("gradcam --image x.png --index 3", "--index"),
    ("gradcam --image x.png --split val", "--split"),
    ("gradcam --image x.png --data digits", "--data"),
    ("gradcam --image x.png --target both", "--target both"),
    ("gradcam x.png --target true", "--target true"),
    ("gradcam x.png absent.png --save-maps", "absent.png"),
    ("gradcam --split test --data digits", "--split"),
    ("gradcam --method camcam", "--method"),
    ("gradcam --layer linear", "--layer is 'linear', but must be prep, layer1, layer2 or layer3"),
    ("gradcam --smooth much", "--smooth"),
    ("gradcam --n 0", "--n"),
    ("gradcam --layer layer1 --seed 18446744073709551616", "a whole number in [0, 4294967295]"),
    (f"gradcam --index {'9' * 5_000}", "999...999"),
    (f"eval --out {'x' * 244}.png", "has too long a name"),
    ("eval --runs-dir loop", "loop is a broken link"),
    ("eval --out loop/x.png", "loop is a broken link"),
    ("eval --data-dir ~nosuchuser", "names a home folder that does not exist"),
    ("gradcam --alpha 1.5", "--alpha"),
    ("plot-curves --out curves.gif", ".png, .svg or .pdf"),
    ("plot-curves --baseline 93.11", "baseline"),
    (f"{LR_FIND} --min-lr 1e-300", "must lie in [1e-12, 100]"),
    (f"{LR_FIND} --min-lr 0", "must lie in [1e-12, 100]"),
    (f"{LR_FIND} --min-lr 1 --max-lr 0.1", "must lie in [1e-12, 100], the first below the second"),
    (f"{LR_FIND} --max-lr inf", "must lie in [1e-12, 100], the first below the second"),
    (f"{LR_FIND} --min-lr nan", "must lie in [1e-12, 100], the first below the second"),
    (f"{LR_FIND} --steps 1", "--steps"),
    (f"{LR_FIND} --seeds 0", "--seeds"),
    (f"{LR_FIND} --seeds 1000000000000", "--seeds is '1000000000000', but must be a whole number in [1, 1000]"),
    (f"{LR_FIND} --out x.txt", "must end in"),
    (f"{LR_FIND} --max-lr auto", "--max-lr"),
    (f"{LR_FIND} --seed 4294967295 --seeds 2", "seed"),
    (f"{FIT} --max-lr Auto", "--max-lr is 'Auto', but must be a number or auto"),
    (f"{FIT} --max-lr=", "--max-lr is '', but must be a number or auto"),
    (f"{FIT} --max-lr nan", "max_lr is nan"),
    (f"{FIT} --seeds 2 --resume latest", "--seeds starts new runs and --resume continues one"),
    (f"{FIT} --seeds 0", "--seeds"),
    (f"{FIT} --seeds 2 --seed 4294967295", "seed is 4294967296, but must be"),
    (f"{FIT} --name mine", "already exists"),
    (f"{FIT} --overwrite", "--overwrite replaces the run called --name"),
    (f"{FIT} --overwrite --name mine --resume mine", "--overwrite replaces the run called --name"),
    (f"{FIT} --overwrite --name mine --data nowhere", "'nowhere'"),
    (f"{FIT} --overwrite --name mine --batch-size 2000", "cannot fill a batch"),
]


@pytest.mark.parametrize(("line", "says"), WRONG, ids=[line[:80] for line, _ in WRONG])
def test_wrong_usage_exits_with_2_and_writes_nothing(run: Run, line: str, says: str, tmp_path: Path) -> None:
    write_digit(tmp_path / "x.png", 0)
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    assert says in the_error(invoke(*line.split(), code=2))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", [*READING, "plot-curves"])
def test_without_a_run_the_folder_is_named(command: str) -> None:
    assert "no run under runs" in the_error(invoke(*command.split(), code=1))


@pytest.mark.parametrize("command", READING)
def test_an_unfinished_run_needs_a_named_checkpoint(run: Run, command: str) -> None:
    run.update(status="interrupted")
    assert "--checkpoint best or last" in the_error(invoke(*command.split(), code=1))
    epochs = run.read().as_dict()["result"]["best_epoch"]
    assert f"best, after {epochs} epoch" in invoke(*command.split(), "--checkpoint=best").stdout


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("eval", r"accuracy \d+\.\d\d% \(\d+ of 359\), 95% interval .*"),
        ("misclassified --n=1 --true=3", r"misclassified \d+ of 359 \(\d+\.\d\d%\), of these \d+ of class 3"),
        ("gradcam --n=1 --layer=layer1", r"replacing the hottest 25% of pixels changes .*"),
        ("report", r"accuracy \d+\.\d\d%, \d+ images, \d+ kB"),
        ("plot-curves", r"mine: 3/3 epochs, best epoch \d, validation \d+\.\d\d%, test \d+\.\d\d%"),
    ],
)
def test_quiet_prints_the_result_in_one_line(run: Run, command: str, says: str) -> None:
    done = invoke(*command.split(), "--quiet")
    assert re.fullmatch(says + "\n", done.stdout)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("command", "then"),
    [
        ("eval", "era misclassified"),
        ("eval --split=val --checkpoint=last", "era misclassified --checkpoint last --split val"),
        ("misclassified --n=2 --sort=index", r"era gradcam --index \d+,\d+"),
        ("gradcam --n=1 --layer=layer1 --gpus=0 --split=val", "era report --split val --gpus 0"),
        ("report", "era runs"),
        ("plot-curves --run=mine", "era eval --run mine"),
    ],
)
def test_each_command_names_the_next_one(run: Run, command: str, then: str) -> None:
    checkpoints = run.path / "checkpoints"
    (checkpoints / "last.ckpt").hardlink_to(checkpoints / "best.ckpt")
    *_, last = invoke(*command.split()).stdout.splitlines()
    assert re.fullmatch(f"Next: {then}", last)
    invoke(*shlex.split(last)[2:])


def test_the_next_command_after_several_seeds_works() -> None:
    small = "--limit-train=96 --limit-test=20 --epochs=1 --seeds=2"
    *_, then = invoke(*FIT.split(), *small.split()).stdout.splitlines()
    assert then == "Next: era plot-curves --run runs/digits-1 --run runs/digits-2"
    invoke(*shlex.split(then)[2:])


@pytest.mark.parametrize("named", ["--run=my runs/mine", "--runs-dir=my runs"])
def test_the_hint_how_to_resume_works(run: Run, named: str) -> None:
    run.update(status="interrupted")
    run.path.parent.rename("my runs")
    hint = re.search(r"\(era (fit --resume .*?)\)", the_error(invoke("eval", named, code=1)))
    assert hint is not None
    refused = the_error(invoke(*shlex.split(hint[1]), "--epochs=99", code=2))
    assert "--epochs 99 differs from the 3 of my runs/mine" in refused  # it was found


@pytest.mark.parametrize("command", [*READING, "plot-curves"])
def test_the_next_command_knows_a_folder_elsewhere(run: Run, command: str) -> None:
    run.path.parent.rename("my runs")
    *_, last = invoke(*command.split(), "--runs-dir=my runs", "--run=mine").stdout.splitlines()
    assert last.endswith(" --run mine --runs-dir 'my runs'" if command != "report" else "era runs --runs-dir 'my runs'")


@pytest.mark.parametrize("command", [*READING, "misclassified --suspects", "gradcam --layer=layer1 IMAGE"])
def test_only_paths_are_wider_than_60_columns(run: Run, command: str, tmp_path: Path) -> None:
    image = write_digit(tmp_path / f"{'long' * 20}.png", 0)
    assert too_wide(invoke(*command.replace("IMAGE", image.name).split(), COLUMNS="60").stdout) == []


@pytest.mark.parametrize(
    ("command", "more"),
    [("eval", "-reliability.SVG"), ("misclassified", "-table.csv"), ("gradcam --n=1 --save-maps", "-maps.npz")],
)
def test_out_names_the_figure_and_its_format(run: Run, command: str, more: str, tmp_path: Path) -> None:
    before = {path for path in run.path.iterdir() if path.suffix in (".png", ".csv")}
    done = invoke(*command.split(), "--out=new/x.SVG")
    assert (tmp_path / "new" / "x.SVG").read_bytes().startswith(b"<?xml")
    assert "new/x.SVG" in done.stdout.splitlines()
    assert f"new/x{more}" in re.split(r"[:,\s]+", done.stdout)
    assert (tmp_path / "new" / f"x{more}").stat().st_size > 0
    assert {path for path in run.path.iterdir() if path.suffix in (".png", ".csv")} == before


def test_a_figure_of_an_unfinished_run_says_after_how_many_epochs(run: Run, drawn: list[Figure]) -> None:
    run.update(status="interrupted", result=None)
    invoke("eval", "--checkpoint=best", "--gpus=0")
    best = run.curves().best
    assert best is not None
    assert all(f"after {best.epoch} epoch" in str(figure.get_suptitle()) for figure in drawn)


def test_no_two_figures_have_the_same_title(run: Run, tmp_path: Path, drawn: list[Figure]) -> None:
    other = run.checkpoints / "other.ckpt"
    other.hardlink_to(run.checkpoints / "best.ckpt")
    for folder in ("a", "b"):
        digit_folder(tmp_path / folder / "scans", {"3": 7, "8": 4})
    asked = ("", "--split=val", f"--checkpoint={other}", "--data=a/scans", "--data=b/scans")
    calls = [f"{command} {option}" for command in ("eval", "misclassified") for option in asked]
    calls += ["eval --tta=flip", "eval --tta=flip-shift", "misclassified --suspects --force", "misclassified --true=3"]
    for call in calls:
        invoke(*call.split())
    titles = [str(figure.get_suptitle()).replace("\n", " ") for figure in drawn]
    assert len(titles) == len(set(titles)) == len(calls) + sum(call.startswith("eval") for call in calls)
    assert any("checkpoint other" in title for title in titles)
    assert any("test-time augmentation flip:" in title for title in titles)


@pytest.mark.parametrize("command", ["eval", "misclassified", "gradcam", "verify", "fit --resume mine"])
def test_cifar10_on_a_disk_that_is_not_mounted_is_not_downloaded(
    finished_run: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from era_cli.core.training import devices

    monkeypatch.delenv("ERA_DATA_DIR", raising=False)
    monkeypatch.setattr(devices, "choose", lambda *_: pytest.fail("torch is loaded first"))
    run = Run(Path(shutil.copytree(finished_run, tmp_path / "runs" / "mine")))
    document = run.read()
    status = "interrupted" if "resume" in command else "finished"
    run.update(status=status, data=replace(document.data, source="cifar10", data_dir=str(tmp_path / "usb")))
    before = files(tmp_path)
    assert the_error(invoke(*command.split(), code=1)) == (
        f"the CIFAR-10 of runs/mine was in {tmp_path / 'usb'}, which is missing: put it back, or name its new"
        " location with --data-dir (it is downloaded there if it is missing)"
    )
    assert files(tmp_path) == before
