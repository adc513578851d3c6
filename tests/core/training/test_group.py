from __future__ import annotations

import socket
from pathlib import Path

import pytest

from era_cli.core.training import group
from era_cli.core.training.setup import Setup
from era_cli.errors import EraError, UsageError
from era_cli.listener import Listener
from era_cli.place import Place
from tests.several import free_port
from tests.support import request


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "MEETING_SECONDS", 1.0)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (
            Place(rank=0, processes=2),
            "not all 2 processes connected to 127.0.0.1:{} within 1 s: start 2 on each node",
        ),
        (Place(rank=1, processes=2, nodes=2), "there was no answer from 127.0.0.1:{} within 1 s: start 1 on each node"),
    ],
    ids=["the others", "the first"],
)
def test_a_missing_process_is_one_sentence(place: Place, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    for name, value in {
        "RANK": str(place.rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EraError) as caught:
        group.meet(place)
    assert says.format(port) in str(caught.value)


def test_a_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(EraError, match=f"port {port} of 127.0.0.1 is in use"):
            group.meet(Place(rank=0, processes=2))


def test_too_few_validation_images_are_refused(tmp_path: Path) -> None:
    two = group.Group(Place(rank=0, processes=2))
    with pytest.raises(UsageError, match="1 validation image cannot be divided among 2 processes"):
        Setup.of(request(tmp_path, limit_val=1), Listener(), two)
