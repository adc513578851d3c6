from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from era_cli.core import checkpoint, inference
from era_cli.core.data import digits
from era_cli.core.normalize import Normalization
from era_cli.listener import Listener
from era_cli.runs import Run


def test_it_equals_a_loop_over_single_images_and_the_runs_own_test_result(finished_run: Path) -> None:
    run = Run(finished_run)
    document = run.read()
    network = checkpoint.load_network(document, run.checkpoints / checkpoint.BEST)
    normalization = Normalization(tuple(document["data"]["mean"]), tuple(document["data"]["std"]))
    dataset = digits.load(document["data"]["image_size"])
    evaluation = inference.evaluate(network, dataset, dataset.test, normalization, Listener(), what="")
    with torch.inference_mode():
        single = [network(normalization(torch.from_numpy(dataset.images[[index]])))[0] for index in dataset.test]
    assert np.abs(torch.stack(single).numpy() - evaluation.logits).max() < 1e-4
    assert (evaluation.labels == dataset.labels[dataset.test]).all()
    assert evaluation.accuracy == document["result"]["test_acc"]
    assert evaluation.loss == document["result"]["test_loss"]


def test_it_computes_in_fp32_without_autocast_and_leaves_the_network_as_it_was(finished_run: Path) -> None:
    run = Run(finished_run)
    network = checkpoint.load_network(run.read(), run.checkpoints / checkpoint.BEST).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    kinds = set()
    handle = network.layer3.register_forward_hook(lambda module, inputs, output: kinds.add(output.dtype))
    dataset = digits.load(8)
    normalization = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    inference.evaluate(network, dataset, dataset.test[:5], normalization, Listener(), what="")
    handle.remove()
    assert kinds == {torch.float32}
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
