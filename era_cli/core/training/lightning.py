"""Lightning, loaded without the parts of it that era has no use for: they take longer to load than the rest.

Lightning imports torchmetrics (which imports torchvision, scipy.signal and pyplot) for `isinstance` checks of metrics
that era does not log, and torch's compiler to recognise modules compiled as a whole, which era's never are.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def _undecorated(function: Any, *how: object, **why: object) -> Any:
    return function


_LEFT_OUT: dict[str, dict[str, Any]] = {
    "torchmetrics": {"Metric": type("Metric", (), {}), "MetricCollection": type("MetricCollection", (), {})},
    "torch._dynamo": {"OptimizedModule": type("OptimizedModule", (), {}), "disable": _undecorated},
}


@contextlib.contextmanager
def _left_out() -> Iterator[None]:
    """Stands in for those that are not loaded yet until the block is done; whoever imports them then gets the real."""
    absent = [name for name in _LEFT_OUT if name not in sys.modules]
    for name in absent:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__spec__ = ModuleSpec(name, None)  # whoever asks whether it is installed looks for it
        sys.modules[name].__dict__.update(_LEFT_OUT[name])
    if "torchmetrics" in absent:
        vars(sys.modules["torchmetrics"])["__version__"] = importlib.metadata.version("torchmetrics")
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


try:
    with _left_out():
        import lightning.pytorch as L
        from lightning.fabric.plugins import CheckpointIO
        from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
        from lightning.fabric.plugins.environments.lightning import LightningEnvironment
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
        from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
        from lightning.pytorch.strategies import DDPStrategy
except Exception:  # a version of Lightning that looks further into them
    for _name in [name for name in sys.modules if name.partition(".")[0] == "lightning"]:
        del sys.modules[_name]
    import lightning.pytorch as L
    from lightning.fabric.plugins import CheckpointIO
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning.pytorch.strategies import DDPStrategy

__all__ = [
    "CheckpointIO",
    "ClusterEnvironment",
    "DDPStrategy",
    "L",
    "LightningEnvironment",
    "SLURMEnvironment",
    "TorchElasticEnvironment",
]
