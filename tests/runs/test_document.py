from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from era_cli.cli import app
from era_cli.errors import EraError
from era_cli.old_names import RENAMED
from era_cli.recipes import Recipe
from era_cli.results import LrSuggestion, Recommendation, SweepSummary
from era_cli.runs import document
from era_cli.runs.document import SCHEMA, Session
from tests.support import RESULT, copied, run_document

SWEEP = SweepSummary(
    recommended=Recommendation(rule="steepest", lr=0.03),
    suggestions=(LrSuggestion(rule="steepest", lr=0.03, spread=(0.02, 0.04)),),
    reason="because",
    min_lr=1e-5,
    max_lr=10.0,
    steps=100,
    seeds=(0,),
    stops=(None,),
)


def everything() -> document.RunDocument:
    """A document in which no field is empty."""
    base = run_document()
    environment = {name: getattr(base, name) for name in ("device", "versions", "git_commit", "command")}
    return dataclasses.replace(
        base,
        status="finished",
        ended="2026-01-02T00:00:00+00:00",
        lr_find=SWEEP,
        data=dataclasses.replace(base.data, data_dir="/data", skipped=("a.png (damaged)",)),
        sessions=(Session(started="2026-01-01T00:00:00+00:00", **environment),),
        result=RESULT,
        lost_epochs=(1,),
        error="it failed once",
        git_commit="abc",
    )


STORED: dict[str, Any] = json.loads(json.dumps(everything().as_dict()))


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every field, lists' first elements included."""
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*at, key))


def holder(fields: Any, place: tuple[Any, ...]) -> Any:
    for key in place[:-1]:
        fields = fields[key]
    return fields


MAY_BE_ABSENT = {"lost_epochs", "processes", "nodes", "sync_batchnorm"}  # later than schema 3
MAY_BE_NULL = {
    "ended",
    "lr_find",
    "lr_find.recommended",
    "lr_find.stops.0",
    "recipe.val_size",
    "recipe.limit_train",
    "recipe.limit_val",
    "recipe.limit_test",
    "recipe.image_size",
    "data.data_dir",
    "data.class_counts",
    "git_commit",
    "sessions.0.git_commit",
    "result.val_acc",
    "result.val_loss",
    "error",
}
FREE_TEXT = {"name", "versions", "rule", "reason", "recipe.name", "skipped", "command", "git_commit", "error", "stops"}


def faults() -> Iterator[Any]:
    """Every field removed, null, of a wrong type, out of range: the fields, and the name of the one that is wrong."""
    for place in paths(STORED):
        name = ".".join(map(str, place))
        kinds: dict[str, Any] = {"a wrong type": [["x"]]}
        if not isinstance(place[-1], int) and place[-1] not in MAY_BE_ABSENT:
            kinds["removed"] = []
        if name not in MAY_BE_NULL:
            kinds["null"] = None
        value = holder(STORED, place)[place[-1]]
        if isinstance(value, int | float) and not isinstance(value, bool):
            kinds["out of range"] = -1
        elif isinstance(value, str) and not any(part in name for part in (*FREE_TEXT, "data_dir", "classes", "source")):
            kinds["out of range"] = "no such"
        for kind, wrong in kinds.items():
            fields = copy.deepcopy(STORED)
            if kind == "removed":
                del holder(fields, place)[place[-1]]
            else:
                holder(fields, place)[place[-1]] = wrong
            yield pytest.param(fields, name, id=f"{name} {kind}")


FAULTS = list(faults())


def test_a_document_comes_back_as_it_was(tmp_path: Path) -> None:
    for written in (everything(), run_document()):
        document.write(tmp_path / "run.json", written)
        assert document.read(tmp_path / "run.json") == written


@pytest.mark.parametrize(("fields", "field"), FAULTS)
def test_every_fault_names_file_and_field(fields: dict[str, Any], field: str, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(fields))
    with pytest.raises(EraError) as caught:
        document.read(file)
    assert caught.value.exit_code == 1
    message = str(caught.value)
    assert message.startswith(f"{file} is damaged (")
    assert [part for part in field.split(".") if not part.isdecimal()][-1] in message
    assert "restore it" in message


COMMANDS = {
    "fit": ("fit", "--gpus=0", "--resume"),
    "eval": ("eval", "--run"),
    "misclassified": ("misclassified", "--run"),
    "gradcam": ("gradcam", "--run"),
    "plot-curves": ("plot-curves", "--run"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_blames_an_option_for_it(
    command: str, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(finished_run, tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    stored = json.loads(run.document_file.read_text())
    for place in paths(stored):
        if isinstance(place[-1], int) or place[-1] in (*RENAMED.values(), *MAY_BE_ABSENT):
            continue
        fields = copy.deepcopy(stored)
        field = place[-1]
        del holder(fields, place)[field]
        run.document_file.write_text(json.dumps(fields))
        result = CliRunner().invoke(app, [*COMMANDS[command], "mine"])
        (line,) = result.stderr.splitlines()
        assert (result.exit_code, line.count("runs/mine/run.json")) == (1, 1), (place, line)
        assert field in line


def test_lr_find_does_not_care_for_damaged_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "run.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(
        app, ["lr-find", "--data=digits", "--image-size=8", "--steps=2", "--limit-train=64", "--gpus=0"]
    )
    assert "no learning rate can be suggested" in result.stderr  # two steps are too few
    assert result.exit_code == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b'{"schema": NaN}', b'{"seconds": 1e999}', b"[" * 100_000, b"[]", b"null", b"1"],
)
def test_what_is_not_a_json_object_is_named(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_bytes(content)
    with pytest.raises(EraError, match=r"is not valid JSON|it is not an object") as caught:
        document.read(file)
    assert str(file) in str(caught.value)
    assert file.read_bytes() == content


def test_a_recipe_of_another_version_is_not_called_damaged(tmp_path: Path) -> None:
    fields = copy.deepcopy(STORED)
    fields["recipe"]["first_size"] = 20
    (tmp_path / "run.json").write_text(json.dumps(fields))
    with pytest.raises(EraError, match=r"another version of era \(recipe\.first_size is unknown here\)"):
        document.read(tmp_path / "run.json")


SCHEMA_3_RECIPE = [
    "name",
    "epochs",
    "max_lr",
    "warmup",
    "anneal",
    "div_factor",
    "final_div_factor",
    "batch_size",
    "optimizer",
    "momentum",
    "weight_decay",
    "label_smoothing",
    "dropout",
    "seed",
    "precision",
    "flip",
    "crop_padding",
    "crop_mode",
    "cutout",
    "val_size",
    "limit_train",
    "limit_val",
    "limit_test",
    "image_size",
    "network",
    "nesterov",
    "decay_norm_and_bias",
    "logit_scale",
    "whiten",
    "dirac",
    "compile",
]
# What runs did before they had these fields.
SCHEMA_4_RECIPE = {
    "initial_size": 32,
    "grow_until": 0.5,
    "flip_mode": "random",
    "head_lr_factor": 2.8,
    "bias_lr_factor": 0.22,
}


def test_a_newer_schema_asks_for_a_newer_era(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({**STORED, "schema": SCHEMA + 1}))
    with pytest.raises(EraError, match="update era"):
        document.read(tmp_path / "run.json")


def test_the_oldest_runs_are_read_as_they_were_trained(tmp_path: Path) -> None:
    fields = copy.deepcopy(STORED)
    fields["schema"] = 1
    for later in ("lr_find", "sessions"):
        del fields[later]
    for later in ("data_dir", "class_counts"):
        del fields["data"][later]
    for later in ("network", "whiten", "dirac", "compile", "limit_val", "limit_test"):
        del fields["recipe"][later]
    del fields["result"]["test_total"]
    fields["recipe"]["precision"], fields["device"]["precision"] = "16", "32"
    for name in ("val_acc", "val_loss"):
        fields["result"][f"best_{name}"] = fields["result"].pop(name)
    (tmp_path / "run.json").write_text(json.dumps(fields))
    read = document.read(tmp_path / "run.json")
    assert (read.recipe.network, read.recipe.whiten, read.recipe.dirac) == ("resnet", False, False)
    assert (read.lr_find, read.sessions, read.data.class_counts) == (None, (), None)
    assert read.result == RESULT
    assert (read.recipe.precision, read.device.precision) == ("fp16", "fp32")
    assert (read.recipe.limit_val, read.recipe.limit_test) == (None, None)
    # What was always there has no default in an old run either.
    del fields["recipe"]["logit_scale"]
    (tmp_path / "run.json").write_text(json.dumps(fields))
    with pytest.raises(EraError, match=r"recipe\.logit_scale is missing"):
        document.read(tmp_path / "run.json")


def test_a_recipe_field_that_came_later_raised_the_schema() -> None:
    """Else runs of the version before, of the same schema, would count as damaged: add it under a new number."""
    assert {field.name for field in dataclasses.fields(Recipe)} == {*SCHEMA_3_RECIPE, *SCHEMA_4_RECIPE}
    assert SCHEMA == 4


def test_runs_of_schema_3_are_read_as_they_were_trained(tmp_path: Path) -> None:
    fields = {**copy.deepcopy(STORED), "schema": 3}
    fields["recipe"] = {name: fields["recipe"][name] for name in SCHEMA_3_RECIPE}
    (tmp_path / "run.json").write_text(json.dumps(fields))
    read = document.read(tmp_path / "run.json").recipe
    assert {name: getattr(read, name) for name in SCHEMA_4_RECIPE} == SCHEMA_4_RECIPE


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("data", "classes"), ["a", "a"], "classes names a class twice"),
        (("data", "class_counts", "train"), [1, 2], "class_counts.train does not fit"),
        (("data", "counts", "train"), 31, "counts.train"),
        (("seed",), 3, "seed is 3"),
        (("data", "image_size"), 64, "data.image_size is 64"),
        (("result", "best_epoch"), 25, "result.best_epoch is 25"),
        (("result",), None, "result is null"),
        (("status",), "\udce9", "surrogates not allowed"),
        (("status",), "x" * 100_000, "status: invalid enum value"),
        (("recipe", "name"), "mine" * 1_000, "recipe.name is 'mine"),
    ],
)
def test_fields_that_contradict_each_other(place: tuple[str, ...], value: Any, said: str, tmp_path: Path) -> None:
    fields = copy.deepcopy(STORED)
    if place == ("data", "image_size"):
        fields["recipe"]["image_size"] = 32
    if place == ("data", "counts", "train"):
        fields["data"]["class_counts"] = None
    holder(fields, place)[place[-1]] = value
    (tmp_path / "run.json").write_text(json.dumps(fields))
    with pytest.raises(EraError, match="is damaged") as caught:
        document.read(tmp_path / "run.json")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 600
