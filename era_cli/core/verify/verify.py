"""Replays a run's last steps, tests its best epoch anew, and compares both with what it recorded.

Writes nothing to the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from era_cli.core.data import run_data
from era_cli.core.fit import start
from era_cli.core.networks import checkpoint
from era_cli.core.training import devices
from era_cli.core.training.setup import Setup
from era_cli.core.verify import cause, checks, recorded, retest
from era_cli.core.verify.changes import changes
from era_cli.core.verify.recorded import Recorded
from era_cli.core.verify.replay import Diverged, replay
from era_cli.core.verify.request import VerifyRequest
from era_cli.core.verify.rounding import Rounding
from era_cli.core.verify.span import NotReplayable, Span, span
from era_cli.listener import Listener
from era_cli.results import Check, Verification
from era_cli.runs import artifacts, document
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run


def verify(request: VerifyRequest, listener: Listener) -> Verification:
    """Compares everything that can be; on a CPU with the run's own number of threads, if there are as many cores.

    Raises:
        EraError: there is no such device, the data are absent, or memory or disk ran out.
        Interrupted: a signal came.
    """
    told = request.document
    device = devices.choose(request.wanted_gpus, told.device.precision)
    dataset = run_data.load_changed(
        request.run, told, source=request.source, data_dir=request.data_dir, listener=listener
    )
    images = checks.check_images(dataset, told)
    found = Recorded.of(request.run, told)
    rows = recorded.check_rows(found, told)
    made = [recorded.check_states(found, told), images]
    with _threads(told.device.threads):
        now = start.environment(device, ())
        changed = changes((told, *told.sessions) if request.from_scratch else (told,), now)
        rounding = Rounding(exact=not changed and device.accelerator == "cpu", precision=device.precision)
        if images.status == "identical":
            setup = Setup.of_run(told, run_data.split(dataset, told.recipe), device)
            outcome = _replayed(request, setup, found, rounding, listener)
            made += [*outcome.checks, rows, *retest.checks(request.run, told, setup, found, rounding, listener)]
        else:
            outcome = _Outcome((_skipped("steps", "the images have changed"),))
            made += [*outcome.checks, rows, _skipped("test", "the images have changed")]
    return Verification(
        checks=tuple(made),
        first_step=None if outcome.span is None else outcome.span.first,
        last_step=None if outcome.span is None else outcome.span.last,
        changes=changed,
        cause=cause.likely(made, changed, threads=now.device.threads, exact=rounding.exact, sudden=outcome.sudden),
    )


@dataclass(frozen=True)
class _Outcome:
    """What the replay of the steps `span` showed; `sudden` if its first loss is further away than rounding explains."""

    checks: tuple[Check, ...]
    span: Span | None = None
    sudden: bool = False


def _replayed(
    request: VerifyRequest, setup: Setup, found: Recorded, rounding: Rounding, listener: Listener
) -> _Outcome:
    """Replays what can be and compares it, in a temporary folder."""
    last, previous = found.step_of(artifacts.LAST), found.step_of(artifacts.PREVIOUS)
    try:
        steps = span(last, previous, setup.steps_per_epoch, from_scratch=request.from_scratch, most=request.steps)
    except NotReplayable as error:
        return _Outcome((_skipped("steps", str(error)),))
    with _temporary_run(request.document) as scratch:
        origin = None
        if steps.origin is not None:  # the run may be in training and replace it
            origin = scratch.checkpoints / steps.origin
            checkpoint.write(found.states[steps.origin], origin)
        try:
            replayed = replay(setup, scratch, origin, steps.first, steps.last, listener)
        except Diverged as error:
            return _Outcome((Check(name="steps", status="differs", detail=f"replayed, {error}"),), steps, sudden=True)
        drift = len(steps) <= setup.steps_per_epoch or request.document.result is None
        made = [checks.check_steps(found.steps, replayed.steps, rounding, drift=drift)]
        if replayed.epochs:
            made.append(checks.check_epochs(found.epochs, replayed.epochs, rounding, drift=drift))
        if steps.last == last:
            state = found.states[artifacts.LAST]
            validated = not last % setup.steps_per_epoch
            if validated and all(check.status == "identical" for check in made):
                # Every loss is the recorded one, that of the validation after the last step, too: nothing was rounded.
                rounding = dataclasses.replace(rounding, exact=True)
            made.append(checks.check_weights("weights", state, replayed.state, rounding, drift=drift))
            made.append(checks.check_optimizer(state, replayed.state, rounding))
            if request.from_scratch:
                made += retest.repeated(scratch, request.document, setup, found, rounding, listener, drift=drift)
        else:
            made.append(_skipped("weights", f"the run recorded none after step {steps.last:,}"))
    return _Outcome(tuple(made), steps, checks.sudden(found.steps, replayed.steps[0], rounding))


def _skipped(name: str, why: str) -> Check:
    return Check(name=name, status="skipped", detail=why)


@contextlib.contextmanager
def _temporary_run(told: RunDocument) -> Iterator[Run]:
    """An empty run with this run.json in the system's folder for temporary files, which is removed with the block."""
    with tempfile.TemporaryDirectory(prefix="era-verify-", ignore_cleanup_errors=True) as folder:
        run = Run(Path(folder))
        run.checkpoints.mkdir()
        document.write(run.document_file, dataclasses.replace(told, result=None, status="running"))
        yield run


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """torch computes on the CPU with this many threads within the block, if the machine has that many cores."""
    before = torch.get_num_threads()
    if count <= (os.cpu_count() or 1):
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
