"""The page of JSON keys names every key of every document, and none that does not exist."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from era_cli import documents
from era_cli.commands.deliver import with_schema
from era_cli.old_names import RENAMED
from era_cli.results import Slimmed
from era_cli.runs.run import Run
from tests.console.support import seeds
from tests.console.test_verify import verification
from tests.runs.test_document import everything
from tests.support import TINY_OPTIONS, as_json

PAGE = Path(__file__).parents[2] / ".github" / "docs" / "json.md"
FREE = ("recipe", "recipe_changes", "probabilities")  # their keys are fields of a recipe and the classes


def documented() -> Iterator[tuple[str, str]]:
    """Every key of the page's table, and the commands whose documents have it."""
    for cell, where in re.findall(r"^\| (`.*?`) \| ([\w, -]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        for pattern in re.findall(r"`([^`]+)`", cell):
            parts = [part.split(",") for part in re.split(r"[{}]", pattern)]
            yield from (("".join(words), where) for words in itertools.product(*parts))


def keys(value: Any, at: str = "") -> Iterator[str]:
    """The path of every key but the old names, lists left out."""
    if isinstance(value, list):
        for item in value:
            yield from keys(item, at)
    elif isinstance(value, dict) and at.rpartition(".")[2] not in FREE:
        old = {RENAMED.get(f"{at}.{key}".lstrip(".")) for key in value}
        for key, item in value.items():
            if key not in old:
                yield f"{at}.{key}".lstrip(".")
                yield from keys(item, f"{at}.{key}".lstrip("."))


def printed() -> dict[str, list[Any]]:
    """Documents of every command, such as have no empty field."""
    return {
        "fit": [with_schema({**everything().as_dict(), "run": "runs/mine", "files": []})],
        "seeds": [with_schema(documents.seeds(seeds(0.8, 0.9)))],
        "eval": [as_json("eval")],
        "misclassified": [as_json("misclassified", "--n=1", *more) for more in ((), ("--suspects",))],
        "gradcam": [as_json("gradcam", "--n=1", "--layer=layer1")],
        "report": [as_json("report")],
        "lr-find": [as_json("lr-find", *TINY_OPTIONS, "--steps=30")],
        "plot-curves": [as_json("plot-curves")],
        "compare": [as_json("compare", "mine", "other")],
        "runs": [as_json("runs")],
        "runs NAME": [with_schema({**as_json("runs", "mine"), **everything().as_dict()})],
        "slim": [with_schema({**documents.slimmed(Slimmed(removed=(), freed=0, left=0)), "run": "", "files": []})],
        "verify": [with_schema({"run": "runs/mine", **documents.verification(verification("identical")), "files": []})],
    }


def test_the_page_names_exactly_the_keys_there_are(run: Run, other: Run) -> None:
    rows = list(documented())
    assert len(rows) == len(set(rows))
    for command, told in printed().items():
        labels = {"all", command, "fit" if command == "runs NAME" else command}
        named = {key for key, where in rows if labels & set(where.split(", "))}
        assert set().union(*(set(keys(document)) for document in told)) == named, command


def test_old_names_stand_beside_the_new(run: Run, other: Run) -> None:
    told = as_json("eval")
    assert told["result"]["accuracy"] == told["result"]["acc"]
    assert told["result"]["per_class"][0]["name"] == told["result"]["per_class"][0]["class"]
    assert told["data"]["part"] == told["data"]["split"] == "test"
    assert "accuracy" not in as_json("misclassified", "--n=1")["result"]
    assert "name" not in as_json("compare", "mine", "other")["result"]["per_class"][0]
    page = PAGE.read_text(encoding="utf-8").partition("## Old names")[2]
    for new, old in RENAMED.items():
        assert f"`{old}`" in page, old
        assert f"`{new.rpartition('.')[2]}`" in page, new
