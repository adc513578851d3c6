"""Replays a run's last steps, tests its best epoch again, and compares both with what it recorded.

Writes nothing to the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from era_cli.core.data import run_data
from era_cli.core.fit import continuity, start
from era_cli.core.networks import checkpoint
from era_cli.core.training import devices
from era_cli.core.training.setup import Setup
from era_cli.core.verify import cause, checks, recorded, retest, validation
from era_cli.core.verify.recorded import Recorded
from era_cli.core.verify.replay import Diverged, replay
from era_cli.core.verify.request import VerifyRequest
from era_cli.core.verify.rounding import Rounding
from era_cli.core.verify.span import NotReplayable, Span, span
from era_cli.errors import UsageError
from era_cli.listener import Listener
from era_cli.results import Check, Verification
from era_cli.runs import artifacts, document
from era_cli.runs.document import Environment, RunDocument
from era_cli.runs.run import Run


def verify(request: VerifyRequest, listener: Listener) -> Verification:
    """Compares everything that can be; on a CPU with the recorded numbers of threads, if there are as many cores.

    Raises:
        EraError: there is no such device, the data are absent, or memory or disk ran out.
        Interrupted: a signal came.
    """
    run, document = request.run, request.document
    device = _device(request)
    dataset = run_data.load_changed(run, document, source=request.source, data_dir=request.data_dir, listener=listener)
    kept = Recorded.of(run, document)
    results = [checks.check_images(dataset, document)]
    setup: Setup | None = None
    if results[0].status == "identical":
        setup = Setup.of_run(document, run_data.split(dataset, document.recipe), device)
        results.append(checks.check_counts(dataset, setup.splits, document))
    results.append(recorded.check_states(kept, document))
    rows = recorded.check_rows(kept, document)
    sessions = document.sessions if request.from_scratch else ()
    with _conditions(device, kept.environment_of(artifacts.LAST, document), *sessions) as replayed_as:
        if setup is None:
            outcome = _Outcome((_skipped("steps", "the images have changed"),))
        else:
            outcome = _replayed(request, setup, kept, replayed_as, listener)
    results += outcome.checks
    changed = list(replayed_as.changes)
    if setup is not None and not _shown_by_replay(kept, outcome.checks):
        with _conditions(device, kept.environment_of(artifacts.BEST, document)) as conditions:
            if check := validation.check_best(run, document, setup, kept, conditions.rounding, listener):
                results.append(check)
                changed += conditions.changes
    results.append(rows)
    if setup is None:
        results.append(_skipped("test", "the images have changed"))
    else:
        with _conditions(device, _tested_by(document)) as conditions:
            results += retest.checks(run, document, setup, kept, conditions.rounding, listener)
            if document.result is not None:
                changed += conditions.changes
    return Verification(
        checks=tuple(results),
        first_step=None if outcome.span is None else outcome.span.first,
        last_step=None if outcome.span is None else outcome.span.last,
        changes=tuple(dict.fromkeys(changed)),
        cause=cause.likely(
            results,
            replayed_as.changes,
            origin=None if outcome.span is None else outcome.span.origin,
            threads=replayed_as.now.device.threads,
            exact=replayed_as.rounding.exact,
            sudden=outcome.sudden,
        ),
    )


def _device(request: VerifyRequest) -> devices.Device:
    precision = request.document.device.precision
    try:
        return devices.choose(request.wanted_gpus, precision)
    except UsageError as error:
        raise UsageError(f"{request.run.path}, trained in {precision}, cannot be verified here: {error}") from error


@dataclass(frozen=True)
class _Conditions:
    """What recomputes, what has changed since the run, and what rounding may therefore explain."""

    now: Environment
    changes: tuple[str, ...]
    rounding: Rounding


@contextlib.contextmanager
def _conditions(device: devices.Device, *before: Environment) -> Iterator[_Conditions]:
    """Within the block computes as the first of `before` did, as far as possible; compares with all of them."""
    with continuity.threads_of(before[0].device, device):
        now = start.environment(device, ())
        changes = tuple(dict.fromkeys(str(change) for each in before for change in continuity.changes(each, now)))
        exact = not changes and device.accelerator == "cpu"
        yield _Conditions(now, changes, Rounding(exact=exact, precision=device.precision))


def _tested_by(document: RunDocument) -> Environment:
    """What tested the best epoch: of several processes the first alone."""
    return dataclasses.replace(document, device=dataclasses.replace(document.device, processes=1, nodes=1))


def _shown_by_replay(kept: Recorded, replayed: tuple[Check, ...]) -> bool:
    """Whether the replay came to the state of `best.ckpt`, so that it need not be validated again."""
    names = {check.name for check in replayed if check.status == "identical"}
    same = kept.step_of(artifacts.BEST) == kept.step_of(artifacts.LAST)
    return artifacts.BEST not in kept.states or "best" in names or (same and {"weights", "epochs"} <= names)


@dataclass(frozen=True)
class _Outcome:
    """What the replay of the steps `span` showed; `sudden` if its first loss is further away than rounding explains."""

    checks: tuple[Check, ...]
    span: Span | None = None
    sudden: bool = False


def _replayed(
    request: VerifyRequest, setup: Setup, kept: Recorded, conditions: _Conditions, listener: Listener
) -> _Outcome:
    """Replays what can be and compares it, in a temporary folder."""
    if (processes := kept.environment_of(artifacts.LAST, request.document).device.processes) > 1:
        return _Outcome(
            (
                _skipped(
                    "steps",
                    f"the run was trained by {processes} processes, and verify can replay only runs of one process",
                ),
            )
        )
    rounding = conditions.rounding
    last, previous = kept.step_of(artifacts.LAST), kept.step_of(artifacts.PREVIOUS)
    try:
        steps = span(last, previous, setup.steps_per_epoch, from_scratch=request.from_scratch, most=request.steps)
    except NotReplayable as error:
        return _Outcome((_skipped("steps", str(error)),))
    with _temporary_run(request.document) as scratch:
        origin = None
        if steps.origin is not None:  # the run may be in training and replace it
            origin = scratch.checkpoints / steps.origin
            checkpoint.write(kept.states[steps.origin], origin)
        try:
            replayed = replay(setup, scratch, origin, steps.first, steps.last, conditions.now, listener)
        except Diverged as error:
            return _Outcome((Check(name="steps", status="differs", detail=f"replayed, {error}"),), steps, sudden=True)
        drift = len(steps) <= setup.steps_per_epoch or request.document.result is None
        results = [checks.check_steps(kept.steps, replayed.steps, rounding, drift=drift)]
        if replayed.epochs:
            results.append(checks.check_epochs(kept.epochs, replayed.epochs, rounding, drift=drift))
        if steps.last == last:
            state = kept.states[artifacts.LAST]
            validated = not last % setup.steps_per_epoch
            if validated and all(check.status == "identical" for check in results):
                # Every loss is the recorded one, that of the validation after the last step, too: nothing was rounded.
                rounding = dataclasses.replace(rounding, exact=True)
            results.append(checks.check_weights("weights", state, replayed.state, rounding, drift=drift))
            results.append(checks.check_optimizer(state, replayed.state, rounding))
            if request.from_scratch:
                results += retest.repeated(scratch, request.document, setup, kept, rounding, listener, drift=drift)
        else:
            results.append(_skipped("weights", f"the run saved no weights after step {steps.last:,}"))
    return _Outcome(tuple(results), steps, checks.sudden(kept.steps, replayed.steps[0], rounding))


def _skipped(name: str, why: str) -> Check:
    return Check(name=name, status="skipped", detail=why)


@contextlib.contextmanager
def _temporary_run(recorded: RunDocument) -> Iterator[Run]:
    """An empty run with this run.json in the system's folder for temporary files, which is removed with the block."""
    with tempfile.TemporaryDirectory(prefix="era-verify-", ignore_cleanup_errors=True) as folder:
        run = Run(Path(folder))
        run.checkpoints.mkdir()
        document.write(run.document_file, dataclasses.replace(recorded, result=None, status="running"))
        yield run
