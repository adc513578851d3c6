"""The documentation names only what exists, and its runnable examples run."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from era_cli import __version__, recipes
from era_cli.cli import app
from era_cli.reports import style
from era_cli.signals import STOPPING
from tests.support import NARROW_ERA, environment

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / ".github" / "images"
DOCS = sorted((ROOT / ".github" / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md", *DOCS]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}

BLOCK = re.compile(r"^(<!-- run -->\n)?```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LONG_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
OTHERS_OPTIONS = re.compile(r"^#SBATCH.*$|^torchrun .* -m(?= era_cli)|^srun .*(?= era )", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)|\b(?:src|href)=\"([^\"]+)\"")
REPOSITORY_FILE = re.compile(r"(?<![\w/.])((?:era_cli|tests|\.github)/[\w./-]*\w/?)")

GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = GROUP.commands
ALWAYS = {"--help", "-h"}


def names(parameter: Any) -> set[str]:
    """The spellings of an option on the command line."""
    return {*parameter.opts, *parameter.secondary_opts}


def options(command: Any) -> set[str]:
    return ALWAYS.union(*(names(parameter) for parameter in command.params if parameter.param_type_name == "option"))


EVERY_OPTION = options(GROUP).union(*(options(command) for command in COMMANDS.values()))
OPTIONS = [
    pytest.param(command, parameter, id=f"{name} {parameter.opts[0]}")
    for name, command in [("era", GROUP), *COMMANDS.items()]
    for parameter in command.params
]
page = pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in TEXTS.items()])


def calls(block: str) -> list[list[str]]:
    """Every `era ...` of a code block, in words; `a && b` and pipes are several."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|\||[|;]", line):
            words = part.split("#")[0].removeprefix("$ ").strip()
            if re.match(r"era(\s|$)", words):
                found.append(shlex.split(words)[1:])
    return found


def blocks(text: str, *, runnable: bool = False) -> list[str]:
    """The code blocks of a page, or those alone that `<!-- run -->` marks."""
    return [block for mark, block in BLOCK.findall(text) if mark or not runnable]


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings, for links to them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# The app documents itself


def test_the_app_and_every_command_say_what_they_do() -> None:
    assert GROUP.help
    for name, command in COMMANDS.items():
        assert (command.help or "").strip(), name


@pytest.mark.parametrize(("command", "parameter"), OPTIONS)
def test_every_option_has_help(command: Any, parameter: Any) -> None:
    assert re.sub(r"\[dim\].*", "", parameter.help or "").strip()  # more than its default
    assert not parameter.hidden


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_option_of_a_command(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert result.exit_code == 0
    assert options(COMMANDS[name]) - set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", result.stdout)) == set()


def test_help_of_the_app_shows_every_command() -> None:
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    for name in COMMANDS:
        assert re.search(rf"^\W*{re.escape(name)}\s", result.stdout, re.MULTILINE), name


# What the pages name exists


@page
def test_options_exist(text: str) -> None:
    own = OTHERS_OPTIONS.sub("", text.replace("\\\n", " "))
    assert set(LONG_OPTION.findall(own)) - EVERY_OPTION == set()


@page
def test_calls_of_era_would_be_understood(text: str) -> None:
    inline = re.findall(r"`(era [^`]+)`", text.replace("\n", " "))
    for words in calls("\n".join([*blocks(text), *inline])):
        name = next((word for word in words if not word.startswith("-")), None)
        assert name is None or name in COMMANDS, words
        known = options(COMMANDS[name]) if name else options(GROUP)
        given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known, words


@page
def test_files_modules_and_make_targets_exist(text: str) -> None:
    files = REPOSITORY_FILE.findall(re.sub(r"\]\([^)]*\)", "", text))  # links are relative to their page
    assert [file for file in files if not (ROOT / file).exists()] == []
    modules = re.findall(r"python -m (tests[\w.]*)", text)
    assert [name for name in modules if not list(ROOT.glob(name.replace(".", "/") + "*"))] == []
    targets = re.findall(r"(?:`|^)make (?:\w+=\S+ )*([a-z]+)", text, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


@pytest.mark.parametrize("path", PAGES, ids=list(TEXTS))
def test_links_and_pictures_resolve(path: Path) -> None:
    for link in ("".join(groups) for groups in LINK.findall(path.read_text(encoding="utf-8"))):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_the_tree_of_the_architecture_names_what_exists() -> None:
    (tree,) = [block for block in blocks(TEXTS[".github/docs/architecture.md"]) if block.startswith("era_cli/")]
    for name in re.findall(r"(?<!\S)(\w+\.py|\w+/)(?=\s)", tree):
        assert [*ROOT.glob(name), *(ROOT / "era_cli").rglob(name), *(ROOT / "tests").glob(name)], name


# Everything there is is named


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_in_the_readme(name: str) -> None:
    assert any(words[:1] == [name] for block in blocks(TEXTS["README.md"]) for words in calls(block))


def test_every_option_is_documented() -> None:
    assert EVERY_OPTION - ALWAYS - set(LONG_OPTION.findall(" ".join(TEXTS.values()))) - {"-q", "-n"} == set()


def test_every_page_is_reached_from_the_readme() -> None:
    assert [path.name for path in PAGES[1:] if f"{path.relative_to(ROOT).as_posix()})" not in TEXTS["README.md"]] == []


def test_the_table_of_recipes_is_that_of_the_code() -> None:
    header, *rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in TEXTS[".github/docs/train.md"].splitlines()
        if re.match(r"\| (`--|option)", line)
    ]
    assert {row[0] for row in rows} == {
        recipes.flag(field.name) for field in dataclasses.fields(recipes.Recipe) if field.name != "name"
    }
    unset = {
        "--val-size": "5,000",
        "--limit-train": "all",
        "--limit-val": "all",
        "--limit-test": "all",
        "--image-size": "32",
    }
    for column, name in enumerate(header[1:-1], start=1):
        recipe = recipes.named(name)
        for row in rows:
            value = getattr(recipe, row[0].removeprefix("--").replace("-", "_"))
            shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            shown = f"{value:.3g}" if isinstance(value, float) else shown
            assert row[column] == (unset[row[0]] if value is None else str(shown)), (name, row[0])


# Form


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 160


def test_pictures_are_small_and_used() -> None:
    text = " ".join(TEXTS.values())
    for picture in IMAGES.iterdir():
        assert picture.stat().st_size <= 200_000, picture.name
        assert f"images/{picture.name}" in text, picture.name


def test_the_changelog_has_an_entry_for_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?v?{re.escape(__version__)}\]?(?![\w.])", changelog, re.MULTILINE)


def test_every_dependency_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    match = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert match is not None
    lines = match[1].splitlines()
    assert len(lines) > 5
    for line in lines:
        assert re.fullmatch(r'\s*"[^"]+",\s+# .*\w{3,}.*', line), line


# Examples run


@pytest.fixture
def own_place(
    accurate_run: Path, other_accurate_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A working folder with two runs of 8 px digits, a folder of photos of their classes, and two images."""
    shutil.copytree(accurate_run, tmp_path / "runs" / "digits-1")
    shutil.copytree(other_accurate_run, tmp_path / "runs" / "digits-2")
    for name in map(str, range(10)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 20 * int(name)).save(tmp_path / "photos" / name / "01.png")
    for name in ("photo.jpg", "another.png"):
        Image.new("RGB", (12, 8), "orange").save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(style, "DPI", 40)  # quicker to write
    handlers = {signum: signal.getsignal(signum) for signum in STOPPING}
    yield tmp_path
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


RUNNABLE = [
    pytest.param(block, id=f"{name} {place}")
    for name, text in TEXTS.items()
    for place, block in enumerate(blocks(text, runnable=True), start=1)
]


@pytest.mark.parametrize("block", RUNNABLE)
def test_runnable_blocks_run(block: str, own_place: Path) -> None:
    for words in calls(block):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (words, done.stderr)
        assert done.stdout, words


def test_every_command_that_reads_has_a_runnable_block() -> None:
    run = {words[0] for text in TEXTS.values() for block in blocks(text, runnable=True) for words in calls(block)}
    assert run >= set(COMMANDS) - {"fit", "lr-find"}  # which the script runs


(SCRIPT,) = [block for block in blocks(TEXTS[".github/docs/scripts.md"]) if "pipefail" in block]
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="the script is one of bash")


def run_script(text: str, folder: Path, programs: Path) -> subprocess.CompletedProcess[str]:
    """The script, which finds in the folder `programs` an `era` with the narrow network."""
    (programs / "era").write_text(f'#!/bin/sh\nexec {shlex.join(NARROW_ERA)} "$@"\n', encoding="utf-8")
    (programs / "era").chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(["bash", "-c", text], cwd=folder, env=environment(PATH=path), capture_output=True, text=True)


@needs_bash
def test_the_script_of_every_command_runs(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert {words[0] for words in calls(SCRIPT.replace("$(", "\n"))} == set(COMMANDS)
    done = run_script(SCRIPT, tmp_path, tmp_path_factory.mktemp("bin"))
    assert done.returncode == 0, done.stderr
    accuracy, macro_f1, wrong, hottest, shown, figure, verified, status, difference = done.stdout.split()
    # Three ways to the same errors: fit, eval and misclassified report on the same 359 images.
    assert round((1 - float(accuracy)) * 359) == int(wrong)
    assert wrong == shown
    counts = np.array(json.loads((tmp_path / "runs/digits-1/eval-test.json").read_text())["result"]["confusion"])
    assert float(macro_f1) == pytest.approx((2 * counts.diagonal() / (counts.sum(0) + counts.sum(1))).mean())
    assert -1 <= float(hottest) <= 1
    assert (tmp_path / figure).is_file()
    assert (verified, status) == ("identical", "finished")
    documents = [json.loads((tmp_path / f"runs/digits-{number}/run.json").read_text()) for number in (1, 2)]
    of_1, of_2 = (document["result"]["test_acc"] for document in documents)
    assert float(difference) == pytest.approx(of_2 - of_1)
    written = {path.name for path in (tmp_path / "runs" / "digits-1").iterdir()}
    assert {"confusion.png", "misclassified.png", "misclassified.csv", "gradcam-layer1.png"} <= written


@needs_bash
def test_the_script_stops_where_a_command_fails(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    done = run_script(SCRIPT.replace("--steps 30", "--steps few"), tmp_path, tmp_path_factory.mktemp("bin"))
    assert done.returncode != 0
    assert done.stdout == ""
    assert "--steps" in done.stderr
    assert list(tmp_path.iterdir()) == []
