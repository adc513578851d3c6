"""The output shape, parameters and multiply-adds of each layer, from one forward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from era_cli.results import LayerRow


def layer_rows(network: nn.Module, image_size: int) -> tuple[tuple[LayerRow, ...], tuple[LayerRow, ...]]:
    """The network's direct children, and its leaves, for one image of (3, image_size, image_size).

    Multiply-adds count convolutions and linear layers, as is usual; the rest is negligible.
    """
    leaves: dict[str, LayerRow] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    handles = [
        module.register_forward_hook(_recorder(name, leaves, shapes))
        for name, module in network.named_modules()
        if name
    ]
    training = network.training
    parameter = next(network.parameters())
    try:
        network.eval()
        with torch.inference_mode():
            network(torch.zeros(1, 3, image_size, image_size, device=parameter.device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    blocks = tuple(
        _block_row(name, type(module).__name__, shapes[name], leaves) for name, module in network.named_children()
    )
    return blocks, tuple(leaves.values())


def _recorder(name: str, leaves: dict[str, LayerRow], shapes: dict[str, tuple[int, ...]]):  # type: ignore[no-untyped-def]
    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shapes[name] = tuple(output.shape[1:])
        if not list(module.children()):
            leaves[name] = LayerRow(
                name=name,
                kind=type(module).__name__,
                output_shape=tuple(output.shape[1:]),
                kernel=_kernel(module),
                parameters=sum(parameter.numel() for parameter in module.parameters()),
                multiply_adds=_multiply_adds(module, output),
            )

    return record


def _kernel(module: nn.Module) -> str:
    size = getattr(module, "kernel_size", None)
    if size is None:
        return ""
    return "x".join(map(str, size)) if isinstance(size, tuple) else f"{size}x{size}"


def _multiply_adds(module: nn.Module, output: Tensor) -> int:
    if isinstance(module, nn.Conv2d):
        return output[0].numel() * (module.in_channels // module.groups) * module.kernel_size[0] * module.kernel_size[1]
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features
    return 0


def _block_row(name: str, kind: str, shape: tuple[int, ...], leaves: dict[str, LayerRow]) -> LayerRow:
    inside = [row for row in leaves.values() if row.name == name or row.name.startswith(f"{name}.")]
    convolutions = [row.kernel for row in inside if row.kind == "Conv2d"]
    kernels = dict.fromkeys(convolutions)  # in order, each once
    return LayerRow(
        name=name,
        kind=kind,
        output_shape=shape,
        kernel=", ".join(f"{convolutions.count(kernel)} x {kernel}" for kernel in kernels),
        parameters=sum(row.parameters for row in inside),
        multiply_adds=sum(row.multiply_adds for row in inside),
    )
