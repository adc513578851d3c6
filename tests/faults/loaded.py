"""A process that has imported all that any command may, so that a copy of it takes the time of the command alone."""

from __future__ import annotations

import contextlib
import gc
import importlib
import pkgutil

from PIL import Image

from tests.faults.small import CHANNELS, DOTS

# What the commands and their libraries import when they first need it.
_LATER = (
    *("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "matplotlib.backends.backend_pdf"),
    *("fontTools.subset", "lightning.pytorch.utilities.combined_loader", "pytorch_grad_cam"),
    *("pydantic.type_adapter", "pydantic._internal._generate_schema", "typer._adapters"),
    *("sklearn.datasets", "torch.utils.serialization"),
)


def load_everything() -> None:
    """Imports all of era and what it imports, and narrows the network. Runs no operation of torch."""
    import era_cli

    for module in pkgutil.walk_packages(era_cli.__path__, "era_cli."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _LATER:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from era_cli.core.networks import resnet
    from era_cli.reports import style

    Image.init()
    resnet.CHANNELS = CHANNELS
    style.DPI = DOTS
    gc.collect()
    gc.freeze()  # a collection in a copy would copy all of these objects' pages
