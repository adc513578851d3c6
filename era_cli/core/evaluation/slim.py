"""A finished run without its training state: what is left evaluates as before. Loads no lightning.

`best.ckpt` then holds the network's weights, the step that they were taken after, and the SHA-256 of the file that it
was, by which the stored predictions knew their weights. A process that is killed on the way leaves a run that lacks
some of what was to go and is valid; slimming it again does the rest.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from era_cli.core.evaluation import predictions
from era_cli.core.networks import checkpoint, weights
from era_cli.files import sweep_temporaries, sync_folder
from era_cli.results import Slimmed
from era_cli.runs import artifacts, listing, slimming
from era_cli.runs.run import Run

_FORMER = "slimmed_from"  # SHA-256 of best.ckpt before
_KEPT = {"state_dict", "global_step", _FORMER}


def slim(run: Run) -> Slimmed:
    """Removes the run's training state; its stored predictions stay valid.

    Raises:
        EraError: the run cannot be slimmed, or its best.ckpt not be loaded: nothing was removed. Or the disk failed.
        OSError: a file could not be removed.
    """
    with run.lock():
        document = run.read()
        slimming.check(run, document)
        best = run.checkpoints / artifacts.BEST
        weights.load(document, best)  # what is left must be a network of this run
        content = checkpoint.read_bytes(best)
        state = checkpoint.parse(content, best)
        size, removed = listing.size(run.path), []
        sweep_temporaries(run.checkpoints)
        for path in (run.checkpoints / artifacts.PREVIOUS, run.checkpoints / artifacts.LAST):
            if path.exists():
                path.unlink()
                removed.append(f"{artifacts.CHECKPOINTS}/{path.name}")
        sync_folder(run.checkpoints)  # before best.ckpt is another, with which they would not agree
        if not state.keys() <= _KEPT:
            state = _without_training(state, checkpoint.sha256(content))
            checkpoint.write(state, best)
            removed.append(f"all but the weights of {artifacts.CHECKPOINTS}/{best.name}")
        if isinstance(former := state.get(_FORMER), str):
            predictions.adopt(run, former, checkpoint.digest(best))
        left = listing.size(run.path)
        return Slimmed(removed=tuple(removed), freed=size - left, left=left)


def _without_training(state: dict[str, Any], digest: str) -> dict[str, Any]:
    tensors = {name: tensor.clone() for name, tensor in state["state_dict"].items() if isinstance(tensor, Tensor)}
    step = {"global_step": state["global_step"]} if "global_step" in state else {}
    return {"state_dict": tensors, **step, _FORMER: digest}
