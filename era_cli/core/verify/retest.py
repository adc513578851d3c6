"""The best epoch of a run, and of the same run repeated, tested again. Loads no lightning."""

from __future__ import annotations

from era_cli.choices import Tta
from era_cli.core.evaluation import inference, predictions
from era_cli.core.evaluation.trained_run import Subset, TrainedRun
from era_cli.core.networks import checkpoint
from era_cli.core.training.setup import Setup
from era_cli.core.verify.checks import check_predictions, check_repeated, check_test, check_weights
from era_cli.core.verify.recorded import Recorded
from era_cli.core.verify.rounding import Rounding
from era_cli.listener import Listener
from era_cli.results import Check
from era_cli.runs import artifacts
from era_cli.runs.document import RunDocument
from era_cli.runs.run import Run


def checks(
    run: Run, document: RunDocument, setup: Setup, recorded: Recorded, rounding: Rounding, listener: Listener
) -> list[Check]:
    """The test in run.json, and the stored predictions that belong to it, against the recomputed ones."""
    if document.result is None:
        detail = f"the run is not finished (status {document.status}), so it has no test result"
        return [Check(name="test", status="skipped", detail=detail)]
    if artifacts.BEST not in recorded.states:
        return [Check(name="test", status="skipped", detail=f"{artifacts.BEST} is missing or damaged")]
    trained, subset = _tested(run, setup)
    evaluation = inference.evaluate(
        trained.classifier, subset.dataset, subset.indices, listener, what="testing the best epoch"
    )
    results = [check_test(document.result, evaluation, rounding)]
    if (stored := predictions.load(trained, subset, Tta.NONE)) is not None:
        results.append(check_predictions(stored.evaluation, evaluation, rounding))
    return results


def repeated(
    scratch: Run,
    document: RunDocument,
    setup: Setup,
    recorded: Recorded,
    rounding: Rounding,
    listener: Listener,
    *,
    drift: bool,
) -> list[Check]:
    """The best epoch of the repeated run in the folder of `scratch` against that of the run.

    Where it is another, its test accuracy is compared, too.
    """
    best = scratch.checkpoints / artifacts.BEST
    if artifacts.BEST not in recorded.states or not best.exists():
        return []
    state = checkpoint.read(best)
    results = [check_weights("best", recorded.states[artifacts.BEST], state, rounding, drift=drift)]
    if results[0].status != "identical" and document.result is not None:
        trained, subset = _tested(scratch, setup)
        evaluation = inference.evaluate(
            trained.classifier, subset.dataset, subset.indices, listener, what="testing the repeated run"
        )
        results.append(check_repeated(document.result, evaluation, rounding))
    return results


def _tested(run: Run, setup: Setup) -> tuple[TrainedRun, Subset]:
    trained = TrainedRun(run, run.checkpoints / artifacts.BEST, setup.device.torch_device)
    return trained, Subset.of_test(setup.dataset, setup.test_indices)
