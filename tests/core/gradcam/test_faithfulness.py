from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from era_cli.core.data.normalize import Normalization
from era_cli.core.evaluation.classifier import TrainedClassifier
from era_cli.core.gradcam import faithfulness
from era_cli.listener import Listener
from era_cli.results import Faithfulness, Images

NORMALIZATION = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
SIDE, HALF = 16, 8

Maps = npt.NDArray[np.float32]


class Corner(nn.Module):
    """Sure of class 1 while the upper left quarter is striped; the rest of the image is nothing to it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0))
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 2)."""
        self.seen.append(images.clone())
        corner = images[:, :, :HALF, :HALF]
        stripes = corner[..., 0::2].mean(dim=(1, 2, 3)) - corner[..., 1::2].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(stripes), self.scale * (stripes - 1)], dim=1)


def striped(count: int) -> Images:
    images = np.full((count, 3, SIDE, SIDE), 40, np.uint8)
    images[..., 0::2] = 215
    images[:, 0] += np.arange(count, dtype=np.uint8)[:, None, None]  # no two alike
    return images


def heats(count: int, left: int = 0, top: int = 0, cells: int = 4) -> Maps:
    """Hot in the quarter that begins there, counted in half images."""
    maps = np.zeros((count, cells, cells), np.float32)
    half = cells // 2
    maps[:, top * half : (top + 1) * half, left * half : (left + 1) * half] = 1
    return maps


def measure(network: nn.Module, maps: Maps, *, targets: int = 1, seed: int = 0) -> Faithfulness:
    return faithfulness.measure(
        TrainedClassifier(network, NORMALIZATION, tuple("ab"), mirrored=False),  # type: ignore[arg-type]
        striped(len(maps)),
        np.full(len(maps), targets),
        maps,
        Listener(),
        seed=seed,
    )


def test_a_correct_map_loses_the_most() -> None:
    worth = measure(Corner(), heats(12, cells=SIDE))
    assert worth.count == 12
    assert worth.hottest > 0.9
    assert worth.random < 0.5 * worth.hottest
    assert worth.moved < 0.5 * worth.hottest


def test_a_wrong_map_loses_nothing() -> None:
    worth = measure(Corner(), heats(12, left=1, top=1, cells=SIDE))
    assert abs(worth.hottest) < 0.01
    assert worth.moved > worth.hottest


def test_the_loss_is_of_the_target_class() -> None:
    maps = heats(4)
    assert measure(Corner(), maps, targets=0).hottest == pytest.approx(-measure(Corner(), maps).hottest, abs=1e-6)


def test_the_means_are_of_the_networks_probabilities() -> None:
    network = Corner()
    worth = measure(network, heats(5))
    with torch.no_grad():
        probabilities = torch.stack([network(images).softmax(dim=1)[:, 1] for images in network.seen[:5]]).double()
    losses = (probabilities[:, :1] - probabilities[:, 1:]).mean(dim=0)
    assert [worth.hottest, worth.random, worth.moved] == pytest.approx(losses.tolist(), abs=1e-6)


MAPS = {
    "a quarter": heats(3),
    "a spot": np.pad(np.ones((3, 1, 1), np.float32), ((0, 0), (2, 1), (1, 2))),
    "nothing": np.zeros((3, 4, 4), np.float32),
    "all equal": np.ones((3, 4, 4), np.float32),
    "a slope": np.tile(np.linspace(0, 1, SIDE, dtype=np.float32), (3, SIDE, 1)),
    "one cell": np.ones((3, 1, 1), np.float32),
}


@pytest.mark.parametrize("kind", MAPS)
def test_the_hottest_quarter_of_pixels_is_replaced(kind: str) -> None:
    network = Corner()
    worth = measure(network, MAPS[kind])
    assert worth.share == 0.25
    originals = NORMALIZATION(torch.from_numpy(striped(3)))
    for original, heat, images in zip(originals, MAPS[kind], network.seen, strict=True):
        assert torch.equal(images[0], original)
        changed = (images[1:] != original).any(dim=1)
        assert changed.sum(dim=(1, 2)).tolist() == [SIDE * SIDE // 4] * 3
        large = nn.functional.interpolate(torch.from_numpy(heat[None, None]), (SIDE, SIDE), mode="bilinear")[0, 0]
        assert large[changed[0]].min() >= large[~changed[0]].max()


def test_the_shifted_mask_has_the_same_shape() -> None:
    network = Corner()
    measure(network, heats(6, cells=SIDE))
    for images in network.seen:
        hottest, _, moved = (images[1:] != images[0]).any(dim=1)
        assert not torch.equal(hottest, moved)
        places = [(down, right) for down in range(SIDE) for right in range(SIDE)]
        assert any(torch.equal(hottest.roll(place, (0, 1)), moved) for place in places)


def test_ties_are_broken_at_random() -> None:
    network = Corner()
    measure(network, np.ones((8, 4, 4), np.float32))
    counts = sum((images[1] != images[0]).any(dim=0).int() for images in network.seen)
    assert isinstance(counts, Tensor)
    halves = [int(counts[:HALF].sum()), int(counts[HALF:].sum())]
    assert min(halves) > max(halves) / 2
    assert int(counts.max()) < 8  # not the same ones in every image


def test_the_seed_decides_the_draws() -> None:
    maps = heats(4)
    first = measure(Corner(), maps, seed=3)
    torch.rand(1)  # whatever the caller draws in between
    again, other = (measure(Corner(), maps, seed=seed) for seed in (3, 4))
    assert first == again
    assert first != other


def test_the_callers_random_state_is_untouched() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    wanted = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    measure(Corner(), heats(2))
    assert torch.equal(torch.rand(3), wanted[0])
    assert np.array_equal(np.random.rand(3), wanted[1])


def test_at_most_a_hundred_images_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faithfulness.MOST_IMAGES == 100
    monkeypatch.setattr(faithfulness, "MOST_IMAGES", 3)
    network = Corner()
    worth = measure(network, heats(5))
    assert worth.count == len(network.seen) == 3
    assert all(torch.equal(images[0], NORMALIZATION(torch.from_numpy(striped(5)))[row])
               for row, images in enumerate(network.seen))  # fmt: skip
    assert worth == measure(Corner(), heats(3))


def test_dropout_is_off_even_for_a_network_in_training() -> None:
    network = nn.Sequential(nn.Dropout(0.5), Corner())
    wanted = measure(network.eval(), heats(3))
    assert measure(network.train(), heats(3)) == wanted
    assert network.training
