"""Signals in every phase of every command."""

from __future__ import annotations

import contextlib
import functools
import http.server
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from era_cli.runs.run import Run
from tests.faults.case import Case, Fault
from tests.faults.child import EXIT, PAUSE, Changes
from tests.faults.ground import (
    FIT,
    IN_TIME,
    PHOTOS,
    RESUME,
    RUN,
    SHORT,
    Done,
    assert_ended,
    assert_unharmed,
    assert_whole,
    bring,
    era,
    finish,
    on_a_terminal,
    photos,
    started,
)
from tests.support import TINY_OPTIONS

SIGNALS = Fault(
    title="a signal",
    promise="ends within 10 s with exit code 130, 143 or 129 and one sentence; files are intact, a fit resumes exactly",
    test="tests/faults/test_signals.py",
)
WORDS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}

Place = tuple[str, int]
Strike = tuple[int, str, int]

MODULE = "era_cli.core.training.module:Classifier"
STARTING = {"starting": ("typer", 1), "loading torch": ("torch", 1)}
LOADING = {"loading the data": ("era_cli.core.data.sources:load", 1)}
SETTING_UP = {
    "making the run": ("era_cli.runs.document:write", 1),
    "before training": ("era_cli.core.training.trainer:run", 1),
    "setting up": (f"{MODULE}.configure_optimizers", 1),
}
TRAINING = {
    "the first step": (f"{MODULE}.training_step", 1),
    "a step": (f"{MODULE}.training_step", 8),
    "drawing the samples": ("era_cli.reports.style:save", 1),
    "validating": (f"{MODULE}.validation_step", 1),
    "writing rows": ("era_cli.runs.history:append", 1),
    "writing a checkpoint": ("era_cli.core.networks.checkpoint:write", 1),
    "writing the best": ("era_cli.core.networks.checkpoint:mark_best", 1),
}
ENDING = {
    "testing": ("era_cli.core.evaluation.inference:logits", 1),
    "recording the result": ("era_cli.runs.run:Run.update", 2),
    "drawing": ("era_cli.reports.curves:curves", 1),
    "printing": ("era_cli.console.fit:FitProgress.show_result", 1),
}
LEAVING = {"leaving": (EXIT, 1)}
SWEEPING = {
    "setting up the sweep": (f"{MODULE}.configure_optimizers", 1),
    "sweeping": (f"{MODULE}.training_step", 3),
    "suggesting": ("era_cli.core.lr_find.suggestions:suggest", 1),
}
REPLAYING = {
    "setting up": (f"{MODULE}.configure_optimizers", 1),
    "replaying": (f"{MODULE}.training_step", 3),
    "validating": (f"{MODULE}.validation_step", 1),
    "saving the replay": ("era_cli.core.networks.checkpoint:write", 2),
    "testing": ("era_cli.core.evaluation.inference:logits", 1),
    "printing": ("era_cli.commands.deliver:deliver", 1),
}
EVALUATING = {"evaluating": ("era_cli.core.evaluation.inference:logits", 1)}
WRITING = {
    "printing": ("era_cli.commands.deliver:deliver", 1),
    "drawing": ("era_cli.reports.style:save", 1),
    "writing": ("era_cli.files:atomic_write", 1),
    "syncing": ("era_cli.files:sync_folder", 1),
    **LEAVING,
}
SECOND = {  # the place of the first signal, and that of the second
    "a checkpoint is written": (TRAINING["a step"], TRAINING["writing a checkpoint"]),
    "rows are written": (TRAINING["a step"], TRAINING["writing rows"]),
    "the epoch is validated": ((TRAINING["a step"][0], 5), TRAINING["validating"]),
}


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line, the phases in which it is stopped, and what is prepared and checked around that."""

    arguments: Sequence[str]
    phases: Mapping[str, Place]
    before: Callable[[Path], object] = lambda folder: None
    after: Callable[[Path], object] = lambda folder: None


def _reader(folder: Path) -> None:
    run = bring("finished", folder)
    (run.path / "predictions-test.npz").unlink()


def _unharmed(folder: Path) -> None:
    assert_unharmed(folder / "runs" / RUN, "predictions-test.npz")


def _no_run(folder: Path) -> None:
    assert not list(folder.glob("runs/*")), list(folder.glob("runs/*"))


def _first_alone(folder: Path) -> None:
    (path,) = folder.glob("runs/*")
    assert Run(path).read().status == "finished"


def _bring_photos(folder: Path) -> None:
    shutil.copytree(photos(), folder / PHOTOS)


WHOLE_FIT = {**STARTING, **LOADING, **SETTING_UP, **TRAINING, **ENDING, **LEAVING}
READS = {**STARTING, **LOADING, **EVALUATING, **WRITING}
COMMANDS = {
    "fit": Command(arguments=FIT, phases=WHOLE_FIT, after=finish),
    "fit --resume": Command(
        arguments=RESUME,
        phases={**LOADING, **TRAINING, "a step": (f"{MODULE}.training_step", 2), **ENDING},  # of the two that are left
        before=functools.partial(bring, "interrupted"),
        after=finish,
    ),
    "fit --seeds 2": Command(
        arguments=("fit", *SHORT, "--seeds=2"),
        phases={"the second's data": ("era_cli.core.data.sources:load", 2)},
        after=_first_alone,
    ),
    "fit --max-lr auto": Command(arguments=(*FIT, "--max-lr=auto"), phases=SWEEPING, after=_no_run),
    "fit --overwrite": Command(
        arguments=(*FIT, "--overwrite"),
        phases={**SETTING_UP, "the first step": ("era_cli.core.fit.run_writer:RunWriter.on_train_batch_end", 1)},
        before=functools.partial(bring, "finished"),
        after=_unharmed,
    ),
    "fit of a folder": Command(
        arguments=("fit", *SHORT, f"--data={PHOTOS}", "--limit-train=64", "--batch-size=16"),
        phases={
            "decoding": ("era_cli.core.data.image_file:load_image", 70),
            "caching": ("era_cli.core.data.cache:_crc32", 1),
        },
        before=_bring_photos,
        after=_no_run,
    ),
    "lr-find": Command(
        arguments=("lr-find", *TINY_OPTIONS, "--limit-train=160", "--steps=20"),
        phases={**STARTING, **LOADING, **SWEEPING, **WRITING},
    ),
    "eval": Command(arguments=("eval", "--gpus=0"), phases=READS, before=_reader, after=_unharmed),
    "misclassified": Command(arguments=("misclassified", "--gpus=0"), phases=READS, before=_reader, after=_unharmed),
    "gradcam": Command(
        arguments=("gradcam", "--n=2", "--gpus=0"),
        phases={**READS, "explaining": ("era_cli.core.gradcam.cam:maps", 1)},
        before=_reader,
        after=_unharmed,
    ),
    "report": Command(
        arguments=("report", "--gpus=0"),
        phases={
            **{phase: place for phase, place in READS.items() if phase != "drawing"},
            "explaining": ("era_cli.core.gradcam.cam:maps", 1),
            "writing the page": ("era_cli.page.page:render", 1),
        },
        before=_reader,
        after=_unharmed,
    ),
    "verify": Command(
        arguments=("verify",),
        phases={**STARTING, **LOADING, **REPLAYING, **LEAVING},
        before=functools.partial(bring, "finished"),
        after=_unharmed,
    ),
    "plot-curves": Command(
        arguments=("plot-curves",),
        phases={"starting": STARTING["starting"], **WRITING},
        before=_reader,
        after=_unharmed,
    ),
}


def cases() -> Iterator[Case]:
    """The signals in turn, one in each phase; in those of a fit's training Ctrl-C and another, or a second Ctrl-C."""
    others: tuple[tuple[int, ...], ...] = ((signal.SIGTERM,), (signal.SIGHUP,), (signal.SIGINT, signal.SIGINT))
    single: tuple[tuple[int, ...], ...] = ((signal.SIGINT,), (signal.SIGTERM,), (signal.SIGHUP,))
    turn = 0
    for name, command in COMMANDS.items():
        for phase, place in command.phases.items():
            turn += 1
            sharp = (name, phase) in SHARP
            fits = name == "fit" and phase in TRAINING
            for signums in (single[0], others[turn % 3]) if fits else (single[0 if sharp else turn % 3],):
                sent = " twice" if len(signums) > 1 else ""
                yield Case(
                    fault=SIGNALS,
                    name=f"{name}: {WORDS[signal.Signals(signums[0])]}{sent} while {phase}",
                    check=functools.partial(_check, command, [(signum, *place) for signum in signums]),
                    sharp=sharp,
                )
    for phase, places in SECOND.items():
        yield Case(
            fault=SIGNALS,
            name=f"fit: a second Ctrl-C while {phase}",
            check=functools.partial(_check, COMMANDS["fit"], [(signal.SIGINT, *place) for place in places]),
        )
    for name, arguments in DOWNLOADING.items():
        for signum, word in WORDS.items():
            check = functools.partial(_check_download, arguments, signum)
            yield Case(fault=SIGNALS, name=f"{name}: {word} while downloading", check=check)
    for (name, phase), place in TYPED.items():
        check = functools.partial(_check_typed, COMMANDS[name], place)
        sharp = (name, phase) == ("fit", "loading the data")
        yield Case(fault=SIGNALS, name=f"{name}: Ctrl-C typed while {phase}", check=check, sharp=sharp)


SHARP = {("fit", "starting"), ("fit of a folder", "decoding")}
DOWNLOADING: dict[str, Sequence[str]] = {
    "fit": ("fit", "--data=cifar10", "--gpus=0", "--limit-train=160"),
    "lr-find": ("lr-find", "--data=cifar10", "--gpus=0", "--limit-train=160"),
}
TYPED: dict[tuple[str, str], Place] = {
    ("fit", "loading the data"): LOADING["loading the data"],
    ("fit", "a step"): TRAINING["a step"],
    ("fit", "testing"): ENDING["testing"],
    ("lr-find", "sweeping"): SWEEPING["sweeping"],
    ("eval", "evaluating"): EVALUATING["evaluating"],
    ("verify", "replaying"): REPLAYING["replaying"],
}


def _check(command: Command, strikes: Sequence[Strike], folder: Path) -> None:
    command.before(folder)
    done = era(folder, *command.arguments, changes=Changes(strikes=strikes))
    _assert_stopped(done, strikes[-1][0])
    assert_whole(folder)
    command.after(folder)


def _assert_stopped(done: Done, signum: int) -> None:
    assert_ended(done, 128 + signum)
    assert done.seconds < IN_TIME, done.seconds
    *_, last = done.err.splitlines()
    assert last == f"Stopped by {WORDS[signal.Signals(signum)]}.", done.err[-2000:]
    assert done.err.count("Stopped by") == 1, done.err[-2000:]


# While it downloads


class _Slow(http.server.BaseHTTPRequestHandler):
    """Sends the beginning of an archive, says so, and then nothing more."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(bytes(400_000))
        assert isinstance(self.server, _Server)
        self.server.sent.set()
        self.server.ended.wait()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Slow)
        self.sent, self.ended = threading.Event(), threading.Event()


@contextlib.contextmanager
def _slow_server() -> Iterator[_Server]:
    with _Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.ended.set()
        server.shutdown()


def _check_download(arguments: Sequence[str], signum: int, folder: Path) -> None:
    with _slow_server() as server:
        slow = f"lambda url, **rest: old('http://127.0.0.1:{server.server_port}/', **rest)"
        changes = Changes(set=[("era_cli.core.data.download:fetch", slow)])
        with started(folder, *arguments, changes=changes) as child:
            try:
                assert server.sent.wait(60), "nothing was asked for"
                time.sleep(0.2)  # what was sent arrives, and it waits for more
                began = time.monotonic()
                child.send_signal(signum)
                out, err = child.communicate(timeout=60)
            finally:
                child.kill()
        _assert_stopped(Done(child.returncode, out, err, time.monotonic() - began), signum)
    assert_whole(folder)
    _no_run(folder)
    left = {path.name for path in (folder / "cache" / "era" / "data").rglob("*") if path.is_file()}
    assert left <= {".download.lock"}, left


# On a terminal

_HIDDEN, _SHOWN = "\x1b[?25l", "\x1b[?25h"


def _check_typed(command: Command, place: Place, folder: Path) -> None:
    command.before(folder)
    done = on_a_terminal(folder, b"\x03", *command.arguments, changes=Changes(strikes=[(PAUSE, *place)]))
    screen = done.out
    assert done.code == 130, (done.code, screen[-2000:])
    assert done.seconds < IN_TIME, done.seconds
    assert "Traceback" not in screen, screen[-2000:]
    assert _HIDDEN in screen, "nothing was drawn"
    assert screen.rfind(_HIDDEN) < screen.rfind(_SHOWN), "the cursor does not show again"
    assert screen.count("Stopped by Ctrl-C.") == 1, screen[-2000:]
    assert screen.rstrip().endswith("Stopped by Ctrl-C."), screen[-2000:]
    assert_whole(folder)
    command.after(folder)
