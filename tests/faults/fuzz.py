"""Whatever a person or a file can put into `era`, drawn at random: options, run.json, checkpoints, names and images.

`python -m tests.faults.fuzz SEED EXAMPLES` tries them in processes forked off one that has loaded everything.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import typer
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from era_cli.choices import CamMethod, Order, Smoothing, Split, Target, Tta, Which
from tests.faults.case import Case, Fault
from tests.faults.loaded import load_everything
from tests.faults.sandbox import BYSTANDER, MOST_MEMORY, MOST_SECONDS, OUTSIDE, Outcome, Sandbox, prepare_commands
from tests.faults.small import CHANNELS

Change = Callable[[Path], None]
_BATCH = 200
_BATCHES = 25
_QUICK = 0  # the seed of the batch that is part of the tests
_READING = ("eval", "misclassified", "gradcam", "plot-curves", "report", "compare", "runs", "verify")


@dataclass(frozen=True)
class Example:
    """A command line, and what was changed before it in the working folder of a Sandbox."""

    arguments: tuple[str, ...]
    changes: tuple[Change, ...] = ()
    train: bool = False
    draw: bool = False

    def prepare(self, work: Path) -> None:
        """Changes the folder."""
        for change in self.changes:
            change(work)


# Values

NUMBERS = (
    *("0", "-0", "-1", "1", "2", "3", "+1", "0.5", "1.0", "1e3", "1e308", "-1e308", "1e-320", "nan", "inf", "-inf"),
    *("1e400", "9" * 400, "9" * 5_000, str(2**31), str(2**32), str(2**63), str(2**64), str(10**12)),
    *("1_0", "\u0663", " 1", "0x10", "", "1,2", "1,,2", "-1,0"),
)
TEXTS = (
    *("", " ", "\x1b[31mred\x07", "\u202egpj.exe", "dog[/]", "[bold]x", "<script>alert(1)</script>", r"$\frac{$"),
    *("=1+1", "x" * 243, "x" * 300, "x" * 100_000, "y " * 50_000, "\u00e9" * 130, "\udcff\udcfe", "a\nb", "a\tb"),
    *("%s%n", "{}", "latest", "best", "last", "done", "stopped", "~", "~nosuchuser", ".", "-", "--", "*", "["),
)
PATHS = (
    *("loop", "dangling", "pipe", "empty", "dir.png", "photos", "photo.png", "photo.png/x", "missing/x", "runs/done"),
    *("loop/x.png", "runs/done/checkpoints/last.ckpt", "runs/done/run.json", "/dev/zero", "/dev/full", "runs/*"),
    *("out/x.png", "out/x.svg", "out/x.pdf", "dangling.png", "~/x.png", "a" * 240 + ".png", "d" * 250 + "/x.png"),
)
# A command that is to write to such a path would do so outside the sandbox.
_harmless = st.text(st.characters(exclude_characters="\0/~", codec="utf-8"), max_size=30)
words = st.sampled_from(TEXTS) | st.sampled_from(PATHS) | st.sampled_from(NUMBERS) | _harmless
json_values: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 1, 2, 0.5, -0.0, 1e308, 10**30, 2**63, [], {}, [[]], "", "1", "finished", "running", "digits"]
) | st.sampled_from(TEXTS)

# What a valid command line says. Larger ones are as valid, and would take longer than a test may.
_CHOICES: dict[str, Sequence[str]] = {
    "--run": ("done", "stopped", "latest", "runs/done", BYSTANDER),
    "--resume": ("stopped", "done"),
    "--checkpoint": ("best", "last"),
    "--split": list(Split),
    "--tta": list(Tta),
    "--sort": list(Order),
    "--which": list(Which),
    "--method": list(CamMethod),
    "--smooth": list(Smoothing),
    "--target": list(Target),
    "--layer": ("prep", "layer1", "layer3"),
    "--image": ("photo.png", "photo.jpg", "photos/0/0.png"),
    "--index": ("1", "1,3"),
    "--data": ("digits", "photos", "cifar10"),
    "--out": ("out/x.png", "x.svg", "x.pdf", "out/x.html"),
    "--max-lr": ("auto", "0.1", "1"),
    "--optimizer": ("sgd", "adam", "muon"),
    "--recipe": ("default", "fast", "session12", "session10"),
    "--precision": ("fp32", "bf16", "auto"),
    "--name": ("new", "done"),
    "--runs-dir": ("runs", "out"),
    "--against": ("done", "stopped", BYSTANDER),
    "--a": ("done", BYSTANDER),
    "--b": ("done", BYSTANDER),
}
# Values that are valid and take too long or too much memory: they belong to tests of their own.
_TOO_LARGE = {"--image-size": ("16", "7", "8"), "--n": ("1", "2"), "--seeds": ("1", "2", "0", str(10**12))}
_TOO_LARGE |= {"--cpu-procs": ("1", "0", str(10**12)), "--nodes": ("1", "0", str(10**12))}  # others start processes
_TOO_LARGE |= {"--steps": ("2", "20", "1", str(10**12)), "--columns": ("1", "3", "0", str(10**12))}


_RUNS = st.sampled_from(("done", "stopped", BYSTANDER)) | words  # named without an option


def _options(command: str) -> list[Any]:
    from era_cli.cli import app

    whole: Any = typer.main.get_command(app)
    return [
        one
        for one in whole.commands[command].params
        if one.param_type_name == "option" and one.opts[0] not in ("--help", "--open")  # which starts a browser
    ]


@st.composite
def command_lines(draw: st.DrawFn) -> Example:
    """A command with some of its options, most with a valid value."""
    command = draw(st.sampled_from(("fit", "lr-find", *_READING)))
    arguments = [command]
    if command in ("fit", "lr-find"):
        arguments += ["--data=digits", "--image-size=8", "--batch-size=16", "--limit-train=64"]
    elif command in ("compare", "runs"):
        arguments += draw(st.lists(_RUNS, max_size=2))
    elif draw(st.integers(0, 3)):
        arguments += ["--run", "done"]
    if command in ("misclassified", "gradcam"):
        arguments += ["--n", "2"]
    for option in draw(st.lists(st.sampled_from(_options(command)), max_size=4)):
        name = draw(st.sampled_from([*option.opts, *option.secondary_opts]))
        long = option.opts[0]
        if option.is_flag:
            arguments.append(name)
        elif long in _TOO_LARGE:
            arguments += [name, draw(st.sampled_from(_TOO_LARGE[long]) | st.sampled_from(TEXTS[:10]))]
        else:
            valid = st.sampled_from(_CHOICES.get(long, ("1", "0.1", "2", "64")))
            arguments += [name, draw(st.one_of(valid, valid, words))]
    if not draw(st.integers(0, 9)):
        arguments.insert(draw(st.integers(0, len(arguments))), draw(words))
    return Example(tuple(arguments), train=command == "verify", draw=not draw(st.integers(0, 7)))


# Files

positions = st.integers(0, 300) | st.integers(-300, -1) | st.integers(0, 10**7)
edits = st.one_of(
    st.tuples(st.just("flip"), positions, st.integers(0, 7)),
    st.tuples(st.just("cut"), positions, st.just(0)),
    st.tuples(st.just("drop"), positions, st.integers(1, 300)),
    st.tuples(st.just("repeat"), positions, st.integers(1, 300)),
    st.tuples(st.just("zero"), positions, st.integers(1, 5_000)),
    st.tuples(st.just("fill"), positions, st.integers(1, 16)),
)
WHOLE = (
    b"",
    b"\0" * 1_000,
    b"PK\x03\x04",
    b"\x80\x04N.",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"\xff\xfe",
    b"null",
    b"\n",
)
PLACED: dict[str, Change] = {
    "a named pipe": lambda file: os.mkfifo(file),
    "a device": lambda file: file.symlink_to("/dev/zero"),
    "a loop": lambda file: file.symlink_to(file.name),
    "a folder": lambda file: file.mkdir(),
    "a terabyte of nothing": lambda file: os.truncate(os.open(file, os.O_CREAT | os.O_WRONLY), 10**12),
    "nothing": lambda file: None,
}


@dataclass(frozen=True)
class Bytes:
    """Edits a file's bytes."""

    name: str
    edits: tuple[tuple[str, int, int], ...]

    def __call__(self, work: Path) -> None:
        file = work / self.name
        content = bytearray(file.read_bytes())
        for what, position, size in self.edits:
            at = position % max(1, len(content))
            if not content:
                break
            if what == "flip":
                content[at] ^= 1 << size
            elif what == "cut":
                del content[at:]
            elif what == "drop":
                del content[at : at + size]
            elif what == "repeat":
                content[at:at] = content[at : at + size]
            else:
                content[at : at + size] = (b"\0" if what == "zero" else b"\xff") * len(content[at : at + size])
        file.unlink()
        file.write_bytes(content)


@dataclass(frozen=True)
class Whole:
    """Puts something else in a file's place."""

    name: str
    content: bytes | str

    def __call__(self, work: Path) -> None:
        file = work / self.name
        file.unlink()
        if isinstance(self.content, str):
            PLACED[self.content](file)
        else:
            file.write_bytes(self.content)


@dataclass(frozen=True)
class Fields:
    """Replaces what lies at `path` in a JSON document, or leaves it out where `value` is DELETED."""

    name: str
    path: tuple[int, ...]
    value: Any

    def __call__(self, work: Path) -> None:
        file = work / self.name
        document = json.loads(file.read_text())
        replaced(document, self.path, self.value)
        file.unlink()
        file.write_text(json.dumps(document))


DELETED = "left out"


def replaced(document: Any, path: tuple[int, ...], value: Any) -> None:
    """Puts `value` in the place that `path` leads to: at each level the number of a key or an item."""
    whole: Any = document
    for depth, number in enumerate(path):
        if not isinstance(whole, dict | list) or not whole:
            return
        key = list(whole)[number % len(whole)] if isinstance(whole, dict) else number % len(whole)
        deeper = whole[key]
        if depth < len(path) - 1 and isinstance(deeper, dict | list) and deeper:
            whole = deeper
            continue
        if isinstance(value, str) and value == DELETED:
            del whole[key]
        else:
            whole[key] = value
        return


@dataclass(frozen=True)
class State:
    """Replaces what lies at `path` in a checkpoint by what ODD calls `value`."""

    name: str
    path: tuple[int, ...]
    value: str

    def __call__(self, work: Path) -> None:
        import torch

        from era_cli.core.networks import checkpoint

        file = work / self.name
        state: Any = checkpoint.read(file)
        odd = DELETED if self.value == DELETED else ODD[self.value]()
        if self.path:
            replaced(state, self.path, odd)
        else:
            state = odd
        file.unlink()
        torch.save(state, file)


def _tensor(*shape: int, kind: str = "float32", fill: float = 1) -> Any:
    import torch

    return torch.full(shape, fill, dtype=getattr(torch, kind))


def _expanded() -> Any:
    import torch

    return torch.zeros(1).expand(10**6, 10**6)


def _sparse() -> Any:
    import torch

    return torch.zeros(3, 3).to_sparse()


ODD: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "text": lambda: "\x1b[31mtext",
    "minus one": lambda: -1,
    "huge": lambda: 10**30,
    "infinity": lambda: float("inf"),
    "a list": lambda: [],
    "a dictionary": lambda: {},
    "deep": lambda: [[[[[[[[{}]]]]]]]],
    "a scalar": partial(_tensor),
    "a vector": partial(_tensor, 3),
    "a matrix": partial(_tensor, 3, 3),
    "a filter": partial(_tensor, CHANNELS[0], 3, 3, 3),
    "no numbers": partial(_tensor, 0),
    "whole numbers": partial(_tensor, CHANNELS[0], kind="int64"),
    "booleans": partial(_tensor, CHANNELS[0], kind="bool"),
    "complex": partial(_tensor, CHANNELS[0], kind="complex64"),
    "double": partial(_tensor, CHANNELS[0], kind="float64"),
    "half": partial(_tensor, CHANNELS[0], kind="float16"),
    "nan": partial(_tensor, CHANNELS[0], fill=float("nan")),
    "a terabyte": _expanded,
    "sparse": _sparse,
}
paths = st.lists(st.integers(0, 60), min_size=1, max_size=4).map(tuple)


def damaged(name: str) -> st.SearchStrategy[Change]:
    """Damage to the bytes of a file, or another in its place."""
    return st.one_of(
        st.builds(Bytes, st.just(name), st.lists(edits, min_size=1, max_size=3).map(tuple)),
        st.builds(Whole, st.just(name), st.sampled_from(WHOLE) | st.sampled_from(list(PLACED))),
    )


def _reading(run: str) -> st.SearchStrategy[tuple[str, ...]]:
    read = ("--run", run, "--checkpoint", "last")
    lines = [("eval", *read), ("misclassified", *read, "--n", "2"), ("gradcam", *read, "--n", "1", "--which", "all")]
    lines += [("report", *read), ("compare", run, BYSTANDER), ("runs", run), ("runs",)]
    return st.sampled_from([*lines, ("plot-curves", "--run", run), ("verify", "--run", run)])


_RESUMED = ("fit", "--resume", "stopped")


@st.composite
def documents(draw: st.DrawFn) -> Example:
    """run.json with other fields, or damaged."""
    run = draw(st.sampled_from(("done", "stopped")))
    name = f"runs/{run}/run.json"
    fields = st.builds(Fields, st.just(name), paths, json_values | st.just(DELETED))
    change = draw(st.one_of(fields, fields, damaged(name)))
    more = [("fit", "--resume", run), ("fit", "--name", run, "--overwrite", "--data=digits", "--image-size=8")]
    arguments = draw(_reading(run) | _reading("latest") | st.sampled_from(more))
    return Example(arguments, (change,), train=arguments[0] == "verify")


@st.composite
def checkpoints(draw: st.DrawFn) -> Example:
    """A checkpoint with other content, or damaged; some are resumed, for an epoch of two steps."""
    resumed = not draw(st.integers(0, 4))
    run = "stopped" if resumed else "done"
    name = f"runs/{run}/checkpoints/last.ckpt"
    states = st.builds(State, st.just(name), st.just(()) | paths, st.sampled_from([*ODD, DELETED]))
    arguments = _RESUMED if resumed else draw(_reading("done"))
    return Example(arguments, (draw(st.one_of(states, states, damaged(name))),), train=True)


@st.composite
def tables(draw: st.DrawFn) -> Example:
    """metrics.csv, steps.csv and the cached predictions, damaged."""
    run = draw(st.sampled_from(("done", "done", "stopped")))
    names = ["metrics.csv", "steps.csv"] + ["predictions-test.npz"] * (run == "done")
    change = draw(damaged(f"runs/{run}/{draw(st.sampled_from(names))}"))
    best = [
        ("eval", "--run", "done"),
        ("report", "--run", "done"),
        ("gradcam", "--run", "done", "--n", "1"),
        ("misclassified", "--run", "done"),
    ]
    lines = [_RESUMED] if run == "stopped" else [*best, ("verify", "--run", run)]
    return Example(draw(st.sampled_from([*lines, ("plot-curves", "--run", run)])), (change,), train=True)


@dataclass(frozen=True)
class Classes:
    """Calls the classes of runs/done otherwise, and the folders of photos after the first two of them."""

    names: tuple[str, ...]

    def __call__(self, work: Path) -> None:
        file = work / "runs" / "done" / "run.json"
        document = json.loads(file.read_text())
        document["data"]["classes"] = list(self.names)
        file.write_text(json.dumps(document))
        for old in "01":
            (work / "photos" / old).rename(work / "photos" / f"new {old}")
        for old, new in zip("01", self.names, strict=False):
            (work / "photos" / f"new {old}").rename(work / "photos" / new)


folder_names = st.sampled_from(
    [
        text
        for text in TEXTS
        if text.strip(". ") and "/" not in text and len(text.encode("utf-8", "surrogateescape")) < 256
    ]
) | _harmless.filter(lambda name: name.strip(". ") != "" and len(name.encode()) < 200)


@st.composite
def class_names(draw: st.DrawFn) -> Example:
    """Class names that no other program would expect."""
    names = sorted(draw(st.lists(folder_names, min_size=10, max_size=10, unique=True)))
    photos = ("--run", "done", "--data", "photos")
    out = draw(st.sampled_from([(), ("--out", "out/x.svg"), ("--out", "out/x.pdf")]))
    lines = [
        ("eval", *photos),
        ("misclassified", *photos, "--n", "2"),
        ("gradcam", *photos, "--n", "1", "--which", "all"),
        ("report", *photos),
    ]
    lines += [("misclassified", *photos, "--true", names[0]), ("misclassified", *photos, "--true", names[0][:1])]
    lines += [("fit", "--data", "photos", "--image-size=8", "--batch-size=2", "--val-size=0")]
    arguments = draw(st.sampled_from(lines))
    return Example((*arguments, *(out if arguments[0] != "fit" else ())), (Classes(tuple(names)),), draw=True)


@st.composite
def images(draw: st.DrawFn) -> Example:
    """Damaged image files, as one's own and in a folder of classes."""
    name = draw(
        st.sampled_from(["photos/0/0.png", *(f"photo.{kind}" for kind in ("png", "jpg", "gif", "bmp", "webp", "tiff"))])
    )
    change = draw(damaged(name))
    if name.startswith("photos"):
        folder = ("--data", "photos")
        lines = [
            ("eval", "--run", "done", *folder),
            ("report", "--run", "done", *folder),
            ("misclassified", "--run", "done", *folder, "--n", "2"),
        ]
        fit = ("fit", *folder, "--image-size=8", "--batch-size=2", "--val-size=0")
        return Example(draw(st.sampled_from([*lines, fit, (*fit, "--strict")])), (change,))
    return Example(("gradcam", "--run", "done", "--image", name, "--layer", "layer2"), (change,))


def examples(*, quick: bool) -> st.SearchStrategy[Example]:
    """Any of them; command lines, which take a tenth of the time, about as often as the others or, if quick, more."""
    kinds = [documents(), checkpoints(), tables(), class_names(), images()]
    # Not one_of, for which a strategy that is named several times is one.
    return st.sampled_from([*[command_lines()] * (10 if quick else 4), *kinds]).flatmap(lambda kind: kind)


# What must hold


def problems(example: Example, outcome: Outcome) -> list[str]:
    """What is wrong with how the example ended."""
    wrong = []
    allowed = (0, 1, 2) if example.train else (0, 1, 2, 130)  # 130: stopped where training would begin
    if outcome.code not in allowed:
        wrong.append(f"exit code {outcome.code}")
    if "Traceback (most recent call last)" in outcome.output and "--debug" not in example.arguments:
        wrong.append("a traceback")
    errors = sum(line.startswith("Error: ") for line in outcome.output.splitlines())
    if outcome.code in (1, 2) and errors != 1 and "--debug" not in example.arguments:
        wrong.append(f"{errors} sentences of error")
    if harmful := {char for char in outcome.output if unicodedata.category(char) == "Cc"} - {"\n"}:
        wrong.append(f"control characters on the terminal: {sorted(harmful)}")
    if outcome.code in (1, 2) and any(len(line) > 10_000 for line in outcome.output.splitlines()):
        wrong.append("a very long line")
    if outcome.seconds > MOST_SECONDS:
        wrong.append(f"{outcome.seconds:.0f} s")
    if outcome.memory > MOST_MEMORY:
        wrong.append(f"{outcome.memory / 1e9:.1f} GB of memory")
    if any(words in outcome.output for words in _NO_MEMORY) and not any(map(_is_large, example.arguments)):
        wrong.append("more memory than it may have")
    if OUTSIDE in outcome.output:
        wrong.append(outcome.output[outcome.output.index(OUTSIDE) :].splitlines()[0])
    if stray := sorted(name for name in outcome.written if not _may_write(example, name)):
        wrong.append(f"written: {stray[:5]}")
    return wrong


# What era says where it got no memory: the sandbox limits it to little more than it may have.
_NO_MEMORY = ("memory ran out", "not enough memory", "not fit into memory", "allocate memory", "MemoryError")


def _is_large(argument: str) -> bool:
    return len(digits := argument.rpartition("=")[2]) > 4 and digits.isdecimal()


def _may_write(example: Example, name: str) -> bool:
    """Whether the command may write to this path in the sandbox."""
    if name.startswith("cache"):
        return True
    if name.startswith(f"work/runs/{BYSTANDER}"):
        return BYSTANDER in example.arguments
    if name.startswith("work/runs"):
        return True
    folders, figures = [], []
    for option, value in zip(example.arguments, example.arguments[1:], strict=False):
        place = os.path.normpath(os.path.join("work", value) if not value.startswith("~") else "home" + value[1:])  # noqa: PTH118
        if option in ("--runs-dir", "--data-dir"):
            folders.append(place)
        elif option == "--out":
            figures.append(place)
    return any(name == folder or name.startswith(f"{folder}/") or folder == "work" for folder in folders) or any(
        name.startswith(figure.rpartition(".")[0]) or figure.startswith(f"{name}/") for figure in figures
    )


def try_examples(box: Sandbox, number: int, count: int) -> list[str]:
    """Tries `count` examples, the same for the same number, and says of each that failed what and how."""
    failures: list[str] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(examples(quick=number == _QUICK))
    def attempt(example: Example) -> None:
        outcome = box.run(example.prepare, example.arguments, train=example.train, draw=example.draw)
        if os.environ.get("ERA_FUZZ_VERBOSE"):
            print(
                outcome.code,
                f"{outcome.seconds:.2f} {outcome.processor_seconds:.2f}",
                str(example)[:200],
                file=sys.stderr,
            )
        if wrong := problems(example, outcome):
            failures.append(f"{'; '.join(wrong)}\n{str(example)[:1_000]}\n{outcome.output[-1_500:]}")

    attempt()
    return failures


_FAULT = Fault(
    title="hostile options and files, generated at random",
    promise="exit code 0, 1 or 2; one sentence on failure; nothing written elsewhere; under 1 GB of memory and 60 s",
    test="tests/faults/test_fuzz.py",
)


def _check(number: int, folder: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.fuzz", str(number), str(_BATCH), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, errors="backslashreplace")
    assert done.returncode == 0, done.stderr


def cases() -> list[Case]:
    """Batches of examples; the first is part of the tests."""
    return [
        Case(
            fault=_FAULT,
            name=f"{_BATCH} examples, seed {number}",
            check=partial(_check, number),
            sharp=number == _QUICK,
            tries=_BATCH,
        )
        for number in range(_BATCHES)
    ]


def main() -> None:
    """Tries the examples of a seed."""
    number, count = int(sys.argv[1]), int(sys.argv[2])
    folder = Path(sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp())
    load_everything()
    prepare_commands()
    failures = try_examples(Sandbox(folder), number, count)
    for failure in failures:
        print(f"{failure}\n", file=sys.stderr)
    print(f"{count} examples, {len(failures)} failed", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
