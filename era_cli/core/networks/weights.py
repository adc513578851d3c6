"""A run's network with the weights of one of its checkpoints. Loads no lightning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from era_cli.core.networks import checkpoint, networks
from era_cli.core.networks.network import Network
from era_cli.errors import EraError
from era_cli.runs.document import RunDocument

_PREFIX = "network."  # of the network's tensors in a training state


@dataclass(frozen=True)
class Weights:
    """A network in evaluation mode, the step that its checkpoint was taken after if that says so, and its SHA-256."""

    network: Network
    step: int | None
    digest: str


def load(document: RunDocument, path: Path) -> Weights:
    """The network of the run described by `document` (run.json), with the weights at `path`.

    Raises:
        EraError: the checkpoint is absent, damaged or of another network.
    """
    content = checkpoint.read_bytes(path)
    state = checkpoint.parse(content, path)
    network = networks.build(document.recipe, len(document.data.classes))
    tensors = {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in state["state_dict"].items()
        if isinstance(name, str) and name.startswith(_PREFIX) and isinstance(tensor, Tensor)
    }
    stored, outputs = tensors.get(f"{network.head_name}.weight"), network.head.out_features
    if stored is not None and stored.ndim == 2 and len(stored) != outputs:
        raise EraError(
            f"the checkpoint {path} has {len(stored)} outputs and the run has {outputs} classes: they belong to"
            " different runs; name the checkpoint's own run with --run"
        )
    for name, wanted in network.state_dict().items():
        if name in tensors and tensors[name].dtype != wanted.dtype:
            kinds = [str(tensor.dtype).removeprefix("torch.") for tensor in (tensors[name], wanted)]
            raise EraError(f"the checkpoint {path} is not era's: {name} is {kinds[0]}, and must be {kinds[1]}")
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise EraError(
            f"the checkpoint {path} does not fit the network of run.json: they belong to different runs"
        ) from error
    step = state.get("global_step")
    return Weights(network.eval(), step if isinstance(step, int) else None, checkpoint.sha256(content))
