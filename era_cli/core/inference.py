"""A network's answers on images: the one function behind every reported test figure. Loads no lightning."""

from __future__ import annotations

import contextlib

import numpy as np
import torch
from torch import nn

from era_cli.core.data.dataset import Dataset
from era_cli.core.normalize import Normalization
from era_cli.listener import Listener
from era_cli.results import Evaluation, Labels

EVAL_BATCH = 256


def _full_precision() -> contextlib.AbstractContextManager[None]:
    """Keeps a GPU's convolutions from TF32, torch's default for them."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def evaluate(
    network: nn.Module,
    dataset: Dataset,
    indices: Labels,
    normalization: Normalization,
    listener: Listener,
    *,
    what: str,
) -> Evaluation:
    """The logits of the images at `indices`, in fp32, without augmentation, on the network's device.

    Args:
        indices: (N,) places in the dataset.
        what: what to call this work to the listener.
    """
    device = next(network.parameters()).device
    logits = np.empty((len(indices), len(dataset.classes)), np.float32)
    training = network.training
    network.eval()
    try:
        with torch.inference_mode(), _full_precision(), listener.work(what, len(indices)) as advance:
            for start in range(0, len(indices), EVAL_BATCH):
                part = indices[start : start + EVAL_BATCH]
                images = torch.from_numpy(dataset.images[part]).to(device)
                logits[start : start + len(part)] = network(normalization(images)).float().cpu().numpy()
                advance(len(part))
    finally:
        network.train(training)
    return Evaluation(labels=dataset.labels[indices], logits=logits, classes=dataset.classes)
