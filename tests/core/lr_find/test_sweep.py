"""The sweep of the learning rate: real ones on 8 px digits, and scripted losses for how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from era_cli.core.data.batches import epoch_order
from era_cli.core.lr_find import sweep
from era_cli.core.networks import initialize
from era_cli.core.networks.resnet import CustomResNet
from era_cli.core.seeds import Stream, derived_seed, generator
from era_cli.core.training.augment import Augmentation
from era_cli.core.training.module import Classifier
from era_cli.core.training.setup import Setup
from era_cli.errors import Interrupted
from era_cli.listener import Advance, Listener
from era_cli.results import LrSweep
from era_cli.signals import STOPPING, raise_on_signals
from tests.support import request

LOW, HIGH, STEPS = 1e-3, 0.3, 6
STEPS_PER_EPOCH = 5
SEED = 3


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Known handlers, as a command has them, and pytest's own afterwards."""
    before = {signum: signal.getsignal(signum) for signum in STOPPING}
    for signum in STOPPING:
        signal.signal(signum, signal.SIG_DFL)  # a shell starts what is in the background with SIGINT ignored
    raise_on_signals()
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    fields: dict[str, Any] = {"batch_size": 8, "limit_train": 43, "dropout": 0.1, "seed": SEED}
    setup = Setup.of(request(tmp_path_factory.mktemp("unused"), **fields), Listener())
    assert setup.steps_per_epoch == STEPS_PER_EPOCH < STEPS
    return setup


@pytest.fixture(scope="module")
def single(tiny: Setup) -> LrSweep:
    return sweep.sweep(tiny, Listener(), low=LOW, high=HIGH, steps=STEPS)


def by_hand(setup: Setup, rates: Sequence[float]) -> list[float]:
    """The losses of the same sweep in a plain PyTorch loop."""
    recipe = setup.recipe
    torch.manual_seed(derived_seed(recipe.seed, Stream.START))
    network = CustomResNet(10, dropout=recipe.dropout, logit_scale=recipe.logit_scale)
    network = network.to(memory_format=torch.channels_last).train()
    initialize.as_identities(network)
    initialize.whiten(network.prep.conv, setup.dataset, setup.train_indices, setup.normalization)
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    kept = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": kept}]
    optimizer = torch.optim.SGD(
        groups,
        lr=1.0,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
    )
    augment = Augmentation.of(recipe, 8, setup.normalization.mean)
    losses = []
    for step, rate in enumerate(rates):
        epoch, batch = divmod(step, STEPS_PER_EPOCH)
        order = epoch_order(torch.from_numpy(setup.train_indices), recipe.seed, epoch)
        chosen = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size].numpy()
        images = augment(
            torch.from_numpy(setup.dataset.images[chosen]), generator(recipe.seed, Stream.AUGMENTATION, step)
        )
        torch.manual_seed(derived_seed(recipe.seed, Stream.DROPOUT, step))
        logits = network(setup.normalization(images))
        labels = torch.from_numpy(setup.dataset.labels[chosen])
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_the_losses_equal_those_of_a_plain_loop(tiny: Setup, single: LrSweep) -> None:
    factor = (HIGH / LOW) ** (1 / (STEPS - 1))
    rates = [LOW * factor**step for step in range(STEPS)]
    assert single.rates == pytest.approx(rates)
    assert single.losses[0] == pytest.approx(by_hand(tiny, rates), rel=1e-5)
    assert (single.seeds, single.stops) == ((SEED,), (None,))


def test_several_seeds_give_a_curve_each(tiny: Setup, single: LrSweep) -> None:
    many = sweep.sweep(tiny, Listener(), low=LOW, high=HIGH, steps=STEPS, seeds=2)
    assert many.seeds == (SEED, SEED + 1)
    assert many.losses.shape == (2, STEPS)
    np.testing.assert_array_equal(many.losses[0], single.losses[0])
    assert (many.losses[1] != many.losses[0]).all()


def test_a_sweep_is_at_full_size(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"batch_size": 8, "limit_train": 43, "image_size": 16}
    growing, full = (
        sweep.sweep(Setup.of(request(tmp_path, **fields, initial_size=size), Listener()), Listener(), steps=3)
        for size in (20, 32)
    )
    np.testing.assert_array_equal(growing.losses, full.losses)


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_largest_seed_can_be_swept(seeds: int, tiny: Setup, script: Callable[..., None]) -> None:
    script([2.0] * 4)
    last = replace(tiny, recipe=replace(tiny.recipe, seed=2**32 - seeds))
    assert sweep.sweep(last, Listener(), steps=4, seeds=seeds).seeds[-1] == 2**32 - 1


def test_a_sweep_writes_and_changes_nothing(
    tiny: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept").write_text("as it was")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    images, train, recipe = tiny.dataset.images.copy(), tiny.train_indices.copy(), tiny.recipe
    sweep.sweep(tiny, Listener(), steps=2, high=1e6)
    np.testing.assert_array_equal(tiny.dataset.images, images)
    np.testing.assert_array_equal(tiny.train_indices, train)
    assert tiny.recipe == recipe
    assert {path: path.read_text() for path in tmp_path.rglob("*")} == {tmp_path / "kept": "as it was"}
    assert capfd.readouterr() == ("", "")


def test_a_huge_rate_stops_a_real_sweep(tiny: Setup) -> None:
    swept = sweep.sweep(tiny, Listener(), low=1e-3, high=1e6, steps=12)
    kept = int(np.isfinite(swept.losses[0]).sum())
    assert 1 <= kept < 12
    assert np.isnan(swept.losses[0, kept:]).all()
    (stop,) = swept.stops
    assert stop is not None
    at = kept - 1 if "diverged" in stop else kept
    assert stop.endswith(f"at a learning rate of {swept.rates[at]:.3g}")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces what a training step gives by losses from a list, one list a seed."""

    def use(*lists: Sequence[float]) -> None:
        def step(self: Classifier, batch: Any, batch_idx: int) -> dict[str, Any]:
            losses = lists[(self._recipe.seed - SEED) % len(lists)]
            weight = next(self.parameters())
            return {"loss": (weight * 0).sum() + losses[self.trainer.global_step], "correct": torch.tensor(0)}

        monkeypatch.setattr(Classifier, "training_step", step)
        monkeypatch.setattr(sweep, "_how_long", lambda *_: "")

    return use


def swept(setup: Setup, **options: Any) -> LrSweep:
    return sweep.sweep(setup, Listener(), low=1e-4, high=1.0, **options)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_nan_or_infinite_loss_ends_the_sweep(bad: float, tiny: Setup, script: Callable[..., None]) -> None:
    script([2.3, 2.2, 2.1, bad, 2.0, 1.9, 1.8, 1.7, 1.6])
    result = swept(tiny, steps=9)
    np.testing.assert_allclose(result.losses, [[2.3, 2.2, 2.1, *[np.nan] * 6]], rtol=1e-6)
    assert result.stops == (
        "the loss was NaN or infinite at a learning rate of 0.00316",
    )  # the fourth of two a decade from 1e-4
    assert np.isfinite(result.smoothed[:3]).all()
    assert np.isnan(result.smoothed[3:]).all()


def test_a_first_nan_leaves_no_suggestion(tiny: Setup, script: Callable[..., None]) -> None:
    script([float("nan")] * 9)
    result = swept(tiny, steps=9)
    assert np.isnan(result.losses).all()
    assert np.isnan(result.smoothed).all()
    assert result.stops == ("the loss was NaN or infinite at a learning rate of 0.0001",)
    assert (result.suggestions, result.recommended) == ((), None)
    assert "0 valid steps are too few" in result.verdict


def test_a_diverging_loss_ends_the_sweep(tiny: Setup, script: Callable[..., None]) -> None:
    script([2.0] * 4 + [500.0] * 5)
    result = swept(tiny, steps=9)
    np.testing.assert_allclose(result.losses, [[2.0] * 4 + [500.0] + [np.nan] * 4])
    assert result.stops == ("the loss diverged at a learning rate of 0.01",)


@pytest.mark.parametrize(
    ("learnt", "share", "diverges"),
    [(2.0, 1.2, False), (2.0, 1.3, True), (1.0, 1.02, False), (1.0, 1.1, True)],
)
def test_divergence_is_relative_to_the_first_loss(
    learnt: float, share: float, diverges: bool, tiny: Setup, script: Callable[..., None]
) -> None:
    script([2.0] * 5 + [learnt] * 5 + [2.0 * share] * 40)
    result = swept(tiny, steps=50)
    kept = int(np.isfinite(result.losses).sum())
    assert (kept < 50) is diverges
    assert kept > 12  # not at the first step that is above
    assert result.stops == (
        f"the loss diverged at a learning rate of {result.rates[kept - 1]:.3g}" if diverges else None,
    )


def test_one_wild_batch_is_no_divergence(tiny: Setup, script: Callable[..., None]) -> None:
    script([2.0] * 5 + [0.5] * 10 + [6.0] + [0.5] * 4)
    assert swept(tiny, steps=20).stops == (None,)


def test_the_mean_ends_at_the_first_stop(tiny: Setup, script: Callable[..., None]) -> None:
    falling = [2.3 - 0.04 * step for step in range(30)]
    script([*falling[:25], *[float("nan")] * 5], [loss + 0.2 for loss in falling])
    result = swept(tiny, steps=30, seeds=2)
    assert [stop is None for stop in result.stops] == [False, True]
    assert np.isfinite(result.losses).sum(axis=1).tolist() == [25, 30]
    assert np.isfinite(result.smoothed).sum() == 25
    middle = slice(8, 17)  # a straight line is its own smoothed curve, away from its ends
    np.testing.assert_allclose(result.smoothed[middle], np.array(falling)[middle] + 0.1, rtol=1e-3)
    assert {suggestion.rule for suggestion in result.suggestions} == {"steepest", "valley", "minimum / 10"}
    assert result.recommended in result.suggestions
    assert result.reason
    assert result.verdict == ""


class SignalAt(Listener):
    """Sends this process a signal while step `step` is told; remembers the bar."""

    def __init__(self, step: int, signum: int = signal.SIGINT) -> None:
        self._step = step
        self._signum = signum
        self.done = 0

    @contextlib.contextmanager
    def work(self, what: str, total: int, unit: str = "images") -> Iterator[Advance]:
        self.total, self.unit = total, unit
        yield self._advance

    def _advance(self, done: int) -> None:
        self.done += done
        if self.done == self._step:
            os.kill(os.getpid(), self._signum)


def handlers() -> list[Any]:
    return [signal.getsignal(signum) for signum in STOPPING]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_sweep_within_a_step(signum: int, tiny: Setup, script: Callable[..., None]) -> None:
    script([2.0] * 9)
    before, listener = handlers(), SignalAt(4, signum)
    with pytest.raises(Interrupted) as stopped:
        sweep.sweep(tiny, listener, steps=9)
    assert stopped.value.signum == signum
    assert listener.done <= 5
    assert handlers() == before


@pytest.mark.parametrize(("step", "seeds"), [(9, 1), (9, 2)], ids=["the last step", "the last step of a seed"])
def test_a_signal_at_the_end_is_not_lost(step: int, seeds: int, tiny: Setup, script: Callable[..., None]) -> None:
    script([2.0] * 9)
    listener = SignalAt(step)
    with pytest.raises(Interrupted):
        sweep.sweep(tiny, listener, steps=9, seeds=seeds)
    assert listener.done <= step + 1


def test_a_sweep_restores_handlers_and_reports_steps(tiny: Setup, script: Callable[..., None]) -> None:
    script([2.0] * 4)
    before, listener = handlers(), SignalAt(0)
    sweep.sweep(tiny, listener, steps=4, seeds=3)
    assert handlers() == before
    assert (listener.done, listener.total, listener.unit) == (12, 12, "steps")


def test_on_a_cpu_the_duration_is_estimated(tiny: Setup) -> None:
    notes: list[str] = []

    class Notes(Listener):
        def note(self, text: str) -> None:
            notes.append(text)

    sweep.sweep(tiny, Notes(), steps=2, seeds=2)
    (note,) = notes
    assert note.startswith("4 steps of 8 images take about ")
