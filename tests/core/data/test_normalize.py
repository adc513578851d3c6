from __future__ import annotations

import torch

from era_cli.core.data.normalize import Normalization


def test_it_standardizes_each_channel() -> None:
    images = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    wanted = (images.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    normal = Normalization(mean, std)(images)
    assert normal.dtype == torch.float32
    assert normal.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(normal.double(), wanted, atol=1e-6)
