from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from era_cli.core.networks import checkpoint
from era_cli.errors import EraError
from era_cli.runs import artifacts

STATE: dict[str, Any] = {"state_dict": {"network.a": torch.arange(6.0)}, "global_step": 7}


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoint.write(STATE, tmp_path / "a.ckpt")
    state = checkpoint.read(tmp_path / "a.ckpt")
    assert state["global_step"] == 7
    assert torch.equal(state["state_dict"]["network.a"], torch.arange(6.0))


@pytest.mark.parametrize("keep", [0, 10, 500, -1])
def test_a_truncated_file_is_damaged(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint.write(STATE, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(EraError, match="is damaged"):
        checkpoint.read(path)


def test_a_flipped_bit_in_a_weight_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint.write({"state_dict": {"network.a": torch.full((1000,), 3.0)}}, path)
    content = bytearray(path.read_bytes())
    place = content.find(torch.tensor([3.0, 3.0]).numpy().tobytes())
    content[place + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(EraError, match="is damaged"):
        checkpoint.read(path)


class Malicious:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.mark}",))


def test_a_malicious_checkpoint_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path, mark = tmp_path / "a.ckpt", tmp_path / "mark"
    torch.save({"state_dict": {}, "surprise": Malicious(mark)}, path)
    with pytest.raises(EraError, match="not loaded"):
        checkpoint.read(path)
    path.write_bytes(pickle.dumps(Malicious(mark)))
    with pytest.raises(EraError):
        checkpoint.read(path)
    assert not mark.exists()


def with_pickle(content: bytes, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A checkpoint with another pickle, its checksums right."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(changed, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    return changed.getvalue()


@pytest.fixture
def whole(tmp_path: Path) -> tuple[bytes, bytes]:
    """The bytes of a checkpoint and those of the pickle in it."""
    checkpoint.write(STATE, tmp_path / "a.ckpt")
    content = (tmp_path / "a.ckpt").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return content, archive.read("archive/data.pkl")


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b".",
        b"no pickle",
        b"\x80\x02",
        b"\x80\x63}.",  # a protocol to come
        b"\x80\x02h\x07.",  # an entry of the memo that is not there
        b"\x80\x02r\xff\xff\xff\x7f.",  # an entry of the memo beyond memory
        b"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a text longer than the file
        b"\x80\x02(]]R.",  # a call of a list
        b"\x80\x02X\x01\x00\x00\x00aQ.",  # a storage of one letter
        b"]" * 100_000,
    ],
    ids=range(11),
)
def test_a_malformed_pickle_is_damage(pickled: bytes, whole: tuple[bytes, bytes], tmp_path: Path) -> None:
    with pytest.raises(EraError, match=r"a.ckpt is damaged \(") as caught:
        checkpoint.parse(with_pickle(whole[0], pickled), tmp_path / "a.ckpt")
    assert len(str(caught.value)) < 400


def test_memory_that_the_file_does_not_have_is_not_taken(whole: tuple[bytes, bytes], tmp_path: Path) -> None:
    content, pickled = whole
    path = tmp_path / "a.ckpt"
    asked = b"\x80\x02}c__builtin__\nbytearray\nJ\x00\x00\x00\x7f\x85R."
    with pytest.raises(EraError, match=r"more than tensors and numbers \(__builtin__.bytearray\)"):
        checkpoint.parse(with_pickle(content, asked), path)
    with pytest.raises(EraError, match=r"more than tensors and numbers \(it is compressed\)"):
        checkpoint.parse(with_pickle(content, pickled, zipfile.ZIP_DEFLATED), path)
    six, more = b"K\x06t", b"J\x00\x00\x00\x10t"
    assert six in pickled
    with pytest.raises(EraError, match="does not have the size that it states"):
        checkpoint.parse(with_pickle(content, pickled.replace(six, more, 1)), path)
    torch.save({"state_dict": {"network.a": torch.zeros(1).expand(10**12)}}, path)
    with pytest.raises(EraError, match="larger than its storage"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    ("pickled", "what"),
    [
        (b"\x80\x05\x96\x00\x00\x00\x00\x01\x00\x00\x00" + b"." * 8, "is damaged"),  # 4 GB of a bytearray
        (b"\x80\x02}" + b"K\x01" + b"2\x86" * 60 + b"K\x00s.", "DUP"),
        (b"\x80\x02}K\x01q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"K\x00s.", "a key"),  # 2^60 steps to hash
        (b"\x80\x02}]]s.", "a key"),
        (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "item by item"),
    ],
)
def test_a_pickle_that_only_costs_memory_or_time_is_refused(
    pickled: bytes, what: str, whole: tuple[bytes, bytes], tmp_path: Path
) -> None:
    with pytest.raises(EraError, match=what):
        checkpoint.parse(with_pickle(whole[0], pickled), tmp_path / "a.ckpt")


def test_a_named_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.ckpt")
    with pytest.raises(EraError, match="it is a named pipe"):
        checkpoint.read(tmp_path / "a.ckpt")


def test_a_link_that_fails_leaves_nothing(tmp_path: Path) -> None:
    checkpoint.write(STATE, tmp_path / artifacts.LAST)
    (tmp_path / artifacts.BEST / "content").mkdir(parents=True)
    with pytest.raises(EraError, match=r"best.ckpt cannot be written"):
        checkpoint.mark_best(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [artifacts.BEST, artifacts.LAST]


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "a.ckpt")
    with pytest.raises(EraError, match="not era's"):
        checkpoint.read(tmp_path / "a.ckpt")
    with pytest.raises(EraError, match="there is no checkpoint"):
        checkpoint.read(tmp_path / "b.ckpt")


def test_a_full_disk_leaves_the_old_checkpoint(tiny_disk: Path) -> None:
    checkpoint.write(STATE, tiny_disk / artifacts.LAST)
    with pytest.raises(EraError, match=r"last.ckpt cannot be written \(No space left.*free some space"):
        checkpoint.write({"state_dict": {"network.a": torch.zeros(100_000)}}, tiny_disk / artifacts.LAST)
    assert checkpoint.read(tiny_disk / artifacts.LAST)["global_step"] == 7
    assert [path.name for path in tiny_disk.iterdir()] == [artifacts.LAST]


# Forks a writer for each line that it reads: importing torch takes seconds, a fork does not.
WRITERS = """
import os, sys, torch
from pathlib import Path
from era_cli.core.networks import checkpoint

def write(folder):
    step, state = 0, {"network.a": torch.zeros(300_000)}
    while True:
        step += 1
        state["network.a"].fill_(step)
        checkpoint.keep_previous(folder)
        checkpoint.write({"state_dict": state, "global_step": step}, folder / "last.ckpt")

for line in sys.stdin:
    if not (writer := os.fork()):
        write(Path(sys.argv[1]))
    print(writer, flush=True)
    os.waitpid(writer, 0)
"""


def test_kill_9_leaves_a_valid_checkpoint(tmp_path: Path) -> None:
    # TMPDIR on another file system is what broke Lightning's own way of writing.
    elsewhere = Path("/dev/shm")
    environment = {**os.environ, **({"TMPDIR": str(elsewhere)} if elsewhere.is_dir() else {}), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WRITERS, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as writers:
        assert writers.stdin is not None
        assert writers.stdout is not None
        for delay in (0.02, 0.03, 0.05, 0.07, 0.11, 0.13):
            writers.stdin.write("\n")
            writers.stdin.flush()
            writer = int(writers.stdout.readline())
            while not (tmp_path / artifacts.PREVIOUS).exists():
                time.sleep(0.01)
            time.sleep(delay)
            os.kill(writer, signal.SIGKILL)
            for name in (artifacts.LAST, artifacts.PREVIOUS):
                state = checkpoint.read(tmp_path / name)
                assert (state["state_dict"]["network.a"] == state["global_step"]).all()
        writers.stdin.close()
