"""Fixtures that several tests share: small real runs on the embedded digits, and the real CIFAR-10 where it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from era_cli.core.data.cifar10 import FOLDER, META_FILE, default_data_dir
from era_cli.core.networks import fastnet, resnet
from era_cli.listener import Listener
from era_cli.runs.run import Run
from era_cli.signals import STOPPING
from tests.faults.small import CHANNELS
from tests.support import heed_signals, request

# Where a failure blocks others the examples are the same each time; at a desk they wander and find more.
settings.register_profile("era", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("era")

heed_signals()

_WHOLE = resnet.CHANNELS, fastnet.CHANNELS
_NARROW = CHANNELS, (8, 32, 32)
_REAL_CIFAR10 = Path(os.environ.get("ERA_DATA_DIR") or default_data_dir())


@pytest.fixture(scope="session")
def cifar10_dir() -> Path:
    """The folder that holds cifar-10-batches-py."""
    if not (_REAL_CIFAR10 / FOLDER / META_FILE).is_file():
        pytest.skip(f"CIFAR-10 is not in {_REAL_CIFAR10}: set ERA_DATA_DIR to the folder that holds {FOLDER}")
    return _REAL_CIFAR10


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Networks this small gain nothing by a second thread, and several workers' threads would wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder that does not outlive the session, as pytest's folders do: CIFAR-10 decoded takes 184 MB."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    yield cache
    shutil.rmtree(cache, ignore_errors=True)


@pytest.fixture(autouse=True)
def _own_cache(_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps every test out of the person's cache and data."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(_cache))
    monkeypatch.delenv("ERA_DATA_DIR", raising=False)


@pytest.fixture(autouse=True)
def _signal_handlers() -> Iterator[None]:
    """Gives pytest its signal handlers back after a command ran in this process."""
    handlers = {signum: signal.getsignal(signum) for signum in STOPPING}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, which a test can fill."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small disk")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this root may not mount")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def fit_digits(tmp_path: Path) -> Callable[..., Any]:
    """Prepares a tiny Fit on digits; keyword arguments are recipe fields."""

    def prepare(
        listener: Listener | None = None, name: str | None = None, source: str = "digits", **fields: Any
    ) -> Any:
        from era_cli.core.fit import start

        return start.prepare(request(tmp_path / "runs", name=name, source=source, **fields), listener or Listener())

    return prepare


@contextlib.contextmanager
def _network_of(channels: tuple[tuple[int, ...], tuple[int, ...]]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for network, own in zip((resnet, fastnet), channels, strict=True):
            patch.setattr(network, "CHANNELS", own)
        yield


@pytest.fixture(scope="session", autouse=True)
def _narrow_network() -> Iterator[None]:
    """Everything in this process but the arithmetic is as with the whole network, in a third of the time."""
    with _network_of(_NARROW):
        yield


@pytest.fixture
def whole_network() -> Iterator[None]:
    """The network that people train, for what depends on its size or on what it learns."""
    with _network_of(_WHOLE):
        yield


def _trained(runs_dir: Path, **fields: Any) -> Path:
    from era_cli.core.fit import start

    with _network_of(_NARROW):
        fit = start.prepare(request(runs_dir, **fields), Listener())
        fit.train(Listener())
    return fit.run.path


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the tiny recipe and the narrow network, trained to its end; tests must not write to it."""
    return _trained(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def accurate_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of more steps, which is right about four test images in five; tests must not write to it."""
    return _trained(tmp_path_factory.mktemp("runs"), batch_size=16, limit_train=640)


@pytest.fixture(scope="session")
def other_accurate_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the images of `accurate_run`, a third as long and not the latest one; tests must not write to it."""
    path = _trained(tmp_path_factory.mktemp("runs"), name="digits-2", batch_size=16, limit_train=640, epochs=1)
    Run(path).update(started="2026-01-01T00:00:00+00:00")
    return path
