"""The documentation names what there is, and nothing else."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from era_cli import __version__
from era_cli.cli import app

ROOT = Path(__file__).parents[1]
FOREIGN = {"--editable"}  # options of pip, make and git that the README may name
LONG_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")

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


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def calls(text: str) -> list[list[str]]:
    """Every `era ...` of the code blocks, in words; `a && b` and pipes are several."""
    found = []
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||[|;]", line):
                words = part.split("#")[0].removeprefix("$ ").strip()
                if re.match(r"(\S*/)?era(\s|$)", words):
                    found.append(shlex.split(words)[1:])
    return found


def test_the_app_and_every_command_say_what_they_are_for() -> None:
    assert GROUP.help
    assert COMMANDS
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


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_readme(name: str) -> None:
    assert re.search(rf"\bera {re.escape(name)}\b", readme())


def test_the_readme_names_no_option_that_there_is_not() -> None:
    assert set(LONG_OPTION.findall(readme())) - EVERY_OPTION - FOREIGN == set()


def test_the_readmes_calls_of_era_would_be_understood() -> None:
    found = calls(readme())
    assert found
    for words in found:
        name = next((word for word in words if not word.startswith("-")), None)
        assert name is None or name in COMMANDS, words
        known = options(COMMANDS[name]) if name else options(GROUP)
        given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known, words


def run_script(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(["bash", "-c", text], cwd=folder, env=environment, capture_output=True, text=True)


SCRIPT = next(
    block for block in re.findall(r"^```sh\n(.*?)^```", readme(), re.MULTILINE | re.DOTALL) if "pipefail" in block
)


@pytest.mark.skipif(shutil.which("bash") is None, reason="the script is one of bash")
def test_the_readmes_script_of_every_command_runs(tmp_path: Path) -> None:
    assert {words[0] for words in calls(f"```\n{SCRIPT.replace('$(', chr(10))}```")} == set(COMMANDS)
    done = run_script(SCRIPT, tmp_path)
    assert done.returncode == 0, done.stderr
    accuracy, macro_f1, wrong, hottest, figure = done.stdout.split()
    # Three ways to the same mistakes: fit, eval and misclassified speak of the same 359 images.
    assert round((1 - float(accuracy)) * 359) == int(wrong)
    assert abs(float(macro_f1) - float(accuracy)) < 0.1
    assert -1 <= float(hottest) <= 1
    assert (tmp_path / figure).is_file()
    written = {path.name for path in (tmp_path / "runs" / "digits-1").iterdir()}
    assert {"confusion.png", "misclassified.png", "misclassified.csv", "gradcam-layer1.png"} <= written


@pytest.mark.skipif(shutil.which("bash") is None, reason="the script is one of bash")
def test_the_readmes_script_stops_where_a_command_fails(tmp_path: Path) -> None:
    done = run_script(SCRIPT.replace("--data digits", "--data nowhere"), tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "nowhere" in done.stderr
    assert list(tmp_path.iterdir()) == []


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
