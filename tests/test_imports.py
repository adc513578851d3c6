"""Imports point one way, and what answers at once loads nothing heavy."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import era_cli

# Anybody may import these.
GROUND = frozenset(
    {
        *("choices", "recipes", "results", "errors", "files", "regular_file", "old_names", "intervals", "listener"),
        *("place", "signals", "text"),
    }
)

# layer: the layers that it may import besides itself and the ground floor
MAY_IMPORT: dict[str, set[str]] = {
    "__main__": {"cli"},
    "cli": {"commands", "console"},
    "commands": {"core", "reports", "page", "console", "runs", "documents", "spreadsheet"},
    "core": {"runs"},
    "runs": set(),
    "reports": set(),
    "page": {"reports"},
    "console": set(),
    "documents": set(),
    "spreadsheet": set(),
    **{layer: set() for layer in GROUND},
}

# wing of core: the wings that it may import besides itself
WINGS: dict[str, set[str]] = {
    "seeds": set(),
    "data": {"seeds"},
    "networks": {"seeds", "data"},
    "training": {"seeds", "data", "networks"},
    "evaluation": {"seeds", "data", "networks"},
    "gradcam": {"seeds", "data", "networks", "evaluation"},
    "report": {"evaluation"},
    "lr_find": {"seeds", "data", "networks", "training"},
    "compare": {"seeds", "data", "networks", "evaluation"},
    "fit": {"seeds", "data", "networks", "training", "evaluation", "lr_find"},
    "verify": {"seeds", "data", "networks", "training", "evaluation", "fit"},
}

LIGHTNING = frozenset({"lightning", "pytorch_lightning", "lightning_fabric"})
HEAVY = frozenset(
    {"torch", "torchvision", "torchmetrics", "matplotlib", "sklearn", "scipy", "pandas", "pytorch_grad_cam", "cv2"}
    | LIGHTNING
)
LIGHT_LAYERS = GROUND | {"runs", "documents", "spreadsheet", "cli", "console", "commands"}
READING_WINGS = frozenset(
    {"seeds", "data", "networks", "evaluation", "gradcam", "compare", "report"}
)  # reading commands need no lightning


def sources() -> dict[str, str]:
    """The text of every module of era_cli by its dotted name."""
    root = Path(era_cli.__file__).parent
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = ("era_cli", *path.relative_to(root).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


SOURCES = sources()


def statements(node: ast.AST, *, at_import: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements under `node`; with `at_import` those alone that run when the module is loaded."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not (at_import and runs_later(child)):
            yield from statements(child, at_import=at_import)


def runs_later(node: ast.AST) -> bool:
    """Whether loading the module leaves out what is in `node`."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def imported(modules: Mapping[str, str], name: str, *, at_import: bool) -> set[str]:
    """The dotted names that module `name` imports, `from package import module` resolved to the module."""
    is_package = any(other.startswith(name + ".") for other in modules)
    found = set()
    for statement in statements(ast.parse(modules[name]), at_import=at_import):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
            continue
        base = statement.module or ""
        if statement.level:
            package = name.split(".")[: len(name.split(".")) - statement.level + is_package]
            base = ".".join([*package, base]).rstrip(".")
        members = {f"{base}.{alias.name}" for alias in statement.names} & set(modules)
        found |= members or {base}
    return found


def layer(name: str) -> str:
    """`era_cli.core.model` -> `core`; the package itself, which holds the version, is no layer."""
    return [*name.split("."), ""][1]


def wing(name: str) -> str:
    """`era_cli.core.data.cifar10` -> `data`; nothing for what is not in core, or is core itself."""
    parts = name.split(".")
    return parts[2] if layer(name) == "core" and len(parts) > 2 else ""


def wrong_edges(modules: Mapping[str, str]) -> list[str]:
    """Every import within era_cli that the table does not allow."""
    wrong = []
    for name in modules:
        allowed = {"", layer(name)} | GROUND | MAY_IMPORT.get(layer(name), set())
        for target in imported(modules, name, at_import=False):
            if target.split(".")[0] != "era_cli":
                continue
            within = {"", wing(name)} | WINGS.get(wing(name), set())
            if layer(target) not in allowed or (wing(name) and wing(target) not in within):
                wrong.append(f"{name} imports {target}")
    return wrong


def loaded(modules: Mapping[str, str], name: str) -> set[str]:
    """The packages from outside that `import name` brings in, through every module of era_cli on the way."""
    outside: set[str] = set()
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module in seen or module not in modules:
            continue
        seen.add(module)
        waiting.append(module.rpartition(".")[0])  # importing a.b runs a first
        for target in imported(modules, module, at_import=True):
            if target.split(".")[0] == "era_cli":
                waiting.append(target)
            else:
                outside.add(target.split(".")[0])
    return outside


def test_every_layer_has_a_row_in_the_table() -> None:
    assert {layer(name) for name in SOURCES} - {""} == set(MAY_IMPORT)


def test_every_wing_of_the_core_has_a_row_in_the_table() -> None:
    assert {wing(name) for name in SOURCES} - {""} == set(WINGS)


def test_imports_point_one_way() -> None:
    assert wrong_edges(SOURCES) == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("era_cli.core.networks.resnet", "from era_cli.reports import style"),
        ("era_cli.core.networks.resnet", "from ...reports import style"),
        ("era_cli.core.networks.resnet", "from era_cli.core.evaluation import metrics"),
        ("era_cli.core.networks.resnet", "def train():\n    from ..training import trainer"),
        ("era_cli.core.evaluation.metrics", "from era_cli.core.training import devices"),
        ("era_cli.core.data.digits", "from era_cli.core.networks import resnet"),
        ("era_cli.core", "from ..reports import style"),
        ("era_cli.reports.style", "import era_cli.core.networks.resnet"),
        ("era_cli.reports.style", "def draw():\n    from era_cli.core.networks import resnet"),
        ("era_cli.console", "from era_cli.core.data import dataset"),
        ("era_cli.runs.run", "from era_cli.commands import fit"),
        ("era_cli.recipes.recipe", "from era_cli import cli"),
        ("era_cli.commands.options", "from era_cli import cli"),
    ],
)
def test_the_checker_catches_a_planted_import(name: str, line: str) -> None:
    (wrong,) = set(wrong_edges({**SOURCES, name: SOURCES[name] + "\n" + line})) - set(wrong_edges(SOURCES))
    assert wrong.startswith(f"{name} imports era_cli.")


@pytest.mark.parametrize("name", [name for name in SOURCES if layer(name) in LIGHT_LAYERS])
def test_a_light_module_loads_nothing_heavy(name: str) -> None:
    assert loaded(SOURCES, name) & HEAVY == set()


@pytest.mark.parametrize("name", [name for name in SOURCES if wing(name) in READING_WINGS])
def test_what_the_reading_commands_need_loads_no_lightning(name: str) -> None:
    assert loaded(SOURCES, name) & LIGHTNING == set()


@pytest.mark.parametrize("name", [name for name in SOURCES if layer(name) == "reports"])
def test_drawing_loads_no_torch(name: str) -> None:
    assert loaded(SOURCES, name) & (HEAVY - {"matplotlib"}) == set()


def test_the_checker_follows_imports_through_modules_and_packages() -> None:
    direct = {**SOURCES, "era_cli.errors": "import torch"}
    through_class = {
        **SOURCES,
        "era_cli.errors": "class A:\n    try:\n        import torch\n    finally:\n        pass",
    }
    through_package = {**SOURCES, "era_cli.core.data": "import lightning.pytorch as L"}
    assert "torch" in loaded(direct, "era_cli.cli")
    assert "torch" in loaded(through_class, "era_cli.runs.history")
    assert "lightning" in loaded(through_package, "era_cli.core.evaluation.inference")


def test_the_checker_leaves_out_what_does_not_run_at_import() -> None:
    later = "def work():\n    import torch\nif TYPE_CHECKING:\n    import lightning"
    assert loaded({**SOURCES, "era_cli.errors": later}, "era_cli.errors") == set()


# In a fresh interpreter, since this one has loaded everything long since.
_ASK = """
import json, sys
from era_cli.cli import app
try:
    app(sys.argv[1:], prog_name="era")
except SystemExit as end:
    print(json.dumps({"code": end.code, "loaded": sorted({name.split(".")[0] for name in sys.modules})}))
"""


def refusal(arguments: str, folder: Path) -> tuple[int, str, set[str]]:
    """Exit code and error of `era` in `folder`, and the packages that it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK, *arguments.split()], cwd=folder, capture_output=True, text=True, timeout=60
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["code"], done.stderr, set(answer["loaded"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("fit --help", 0),
        ("fit --no-such-option", 2),
        ("fit --epochs 0", 2),
        ("fit --recipe nobody", 2),
        ("fit --gpus many", 2),
    ],
)
def test_help_and_wrong_usage_load_nothing_heavy(arguments: str, code: int, tmp_path: Path) -> None:
    answer, _, packages = refusal(arguments, tmp_path)
    assert answer == code
    assert packages & HEAVY == set()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("fit --name done", "already exists"),
        ("fit --data nowhere", "there is no folder"),
        ("fit --data-dir loose/photos", "is a file, not a folder"),
        ("fit --runs-dir loose/photos", "is a file, not a folder"),
        ("fit --data loose", "put the images of each class in a folder"),
        ("fit --resume nobody", "there is no run"),
        ("fit --resume done --epochs 9", "a resumed run keeps its settings"),
        ("fit --resume stopped --epochs 9", "a resumed run keeps its settings"),
        ("fit --resume stopped", "holds no checkpoint yet"),
        ("lr-find --data nowhere", "there is no folder"),
        ("lr-find --min-lr 2 --max-lr 1", "the first below the second"),
        ("lr-find --seed 4294967295 --seeds 2", "seed is 4294967296"),
        ("eval --run nobody", "there is no run"),
        ("eval --out loose/photos/figure.png", "is a file, not a folder"),
        ("eval --run done --checkpoint other.ckpt", "there is no checkpoint"),
        ("eval --run done --split val --data digits", "leave it out with --data"),
        ("eval --run done --data loose/photos", "is a file"),
        ("eval --run stopped", "is not finished"),
        ("misclassified --run done --true cat", "--true is 'cat', but must be"),
        ("misclassified --run done --data nowhere", "there is no folder"),
        ("gradcam --run done --layer layer9", "--layer"),
        ("gradcam --run done --image nope.jpg", "there is no image"),
        ("gradcam --run done --image loose/photos", "cannot be read as an image"),
        ("plot-curves --run nobody", "there is no run"),
        ("verify --run stopped", "holds no checkpoint yet"),
        ("report --run nobody", "there is no run"),
        ("report --run done --out page.pdf", "must end in .html"),
        ("report --run done --against done", "itself: name another run"),
        ("report --run done --against changed", "the images of digits changed in between"),
        ("report --run done --against stopped", "is not finished"),
        ("compare done", "takes two runs"),
        ("compare done nobody", "there is no run"),
        ("compare done stopped", "is not finished"),
        ("compare done digits*", "no run under runs matches"),
        ("compare done changed", "the images of digits changed in between"),
        ("compare --a done --a stopped --b changed", "at least two on each"),
        ("runs --slim nobody", "there is no run"),
        ("runs --slim stopped --yes", "is not finished"),
        ("runs --slim done", "confirm it with --yes"),
    ],
)
def test_an_error_that_needs_no_torch_comes_before_it(
    arguments: str, reason: str, finished_run: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(finished_run, runs / "done")
    shutil.copytree(finished_run, runs / "stopped", ignore=shutil.ignore_patterns("*.ckpt"))
    document = json.loads((runs / "stopped" / "run.json").read_text())
    (runs / "stopped" / "run.json").write_text(json.dumps({**document, "status": "interrupted", "result": None}))
    changed = {**document, "data": {**document["data"], "content_hash": "0" * 64}}
    shutil.copytree(runs / "done", runs / "changed")
    (runs / "changed" / "run.json").write_text(json.dumps(changed))
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "photos").write_text("no image")
    code, error, packages = refusal(arguments, tmp_path)
    assert (code in (1, 2), reason in error) == (True, True), error
    assert packages & HEAVY == set()
